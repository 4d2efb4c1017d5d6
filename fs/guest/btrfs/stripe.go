package btrfs

// Arithmetic of chunks; no I/O. A chunk's content goes in units of 64 KiB over
// its stripes.
const stripeLen = 64 << 10

// piece is a run of a chunk that lies in one run on each device that has it.
type piece struct {
	length uint64
	first  int    // the stripe that has it; for copies, the first one
	copies int    // stripes from first on that have it, all the same bytes
	off    uint64 // within each of these stripes
	row    uint64 // RAID5 and 6: of units, with their parity
	column int    // RAID5 and 6: the unit's number in the row
}

// parity is the number of a chunk's stripes that hold parity.
func (c *chunk) parity() int {
	switch {
	case c.kind&chunk5 != 0:
		return 1
	case c.kind&chunk6 != 0:
		return 2
	}
	return 0
}

// columns is the number of units that lie beside each other; 0 when the chunk
// is not striped.
func (c *chunk) columns() uint64 {
	switch {
	case c.kind&chunkRAID0 != 0:
		return uint64(len(c.stripes))
	case c.kind&chunk10 != 0:
		return uint64(len(c.stripes)) / c.sub
	case c.parity() > 0:
		return uint64(len(c.stripes) - c.parity())
	}
	return 0
}

// at gives the piece at a place in the chunk, of n bytes at most.
func (c *chunk) at(off, n uint64) piece {
	n = min(n, c.length-off)
	columns := c.columns()
	if columns == 0 {
		return piece{length: n, copies: len(c.stripes), off: off}
	}
	unit, within := off/stripeLen, off%stripeLen
	row, column := unit/columns, int(unit%columns)
	p := piece{length: min(n, stripeLen-within), first: column, copies: 1, off: row*stripeLen + within, row: row, column: column}
	switch {
	case c.kind&chunk10 != 0:
		p.first, p.copies = column*int(c.sub), int(c.sub)
	case c.parity() > 0:
		p.first = c.turned(column, row)
	}
	return p
}

// turned gives the stripe that holds a column of a row in RAID5 and 6: they
// move by one in each row. Parity comes in the columns behind the data.
func (c *chunk) turned(column int, row uint64) int {
	n := uint64(len(c.stripes))
	return int((uint64(column) + row%n) % n)
}

// stripeBytes is how much of a device a stripe takes.
func (c *chunk) stripeBytes() uint64 {
	columns := c.columns()
	if columns == 0 {
		return c.length
	}
	rows := (c.length + columns*stripeLen - 1) / (columns * stripeLen)
	return rows * stripeLen
}

// onStripe gives the run of a stripe that holds bytes from..to of the chunk and
// no others. What a stripe holds of a striped chunk's first bytes is a run at
// its own start, so the run lies between two such. With parity only whole rows
// count: the parity of a row that is in use in part holds that part too.
func (c *chunk) onStripe(number int, from, to uint64) (off, end uint64) {
	columns := c.columns()
	switch {
	case columns == 0:
		return from, to
	case c.parity() > 0:
		row := columns * stripeLen
		return (from + row - 1) / row * stripeLen, to / row * stripeLen
	}
	column := uint64(number)
	if c.kind&chunk10 != 0 {
		column /= c.sub
	}
	return share(from, column, columns), share(to, column, columns)
}

// share is how many of the first n bytes lie in a column.
func share(n, column, columns uint64) uint64 {
	unit, within := n/stripeLen, n%stripeLen
	rows, last := unit/columns, unit%columns
	switch {
	case column < last:
		return (rows + 1) * stripeLen
	case column == last:
		return rows*stripeLen + within
	}
	return rows * stripeLen
}
