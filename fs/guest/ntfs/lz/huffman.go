package lz

// code is a canonical Huffman code: symbols in the order of their lengths, then
// of their numbers. Codes of up to fastBits are found by one look.
type code struct {
	fast    [1 << fastBits]uint16 // symbol<<4 | length; 0 for a longer code
	limit   [maxCode + 2]uint32   // above the last code of a length, as maxCode bits
	offset  [maxCode + 1]int32    // into sorted, less the first code of a length
	sorted  []uint16
	longest int
}

const (
	fastBits = 9
	maxCode  = 16
)

// init makes the code of the lengths of the symbols (0: the symbol is not
// used). The code must be complete, or empty.
func (c *code) init(lengths []byte) error {
	var count [maxCode + 1]int
	for _, l := range lengths {
		if l > maxCode {
			return ErrCorrupt
		}
		count[l]++
	}
	count[0] = 0
	clear(c.fast[:])
	c.longest = 0
	next, sum, first := uint32(0), 0, [maxCode + 1]int{}
	for l := 1; l <= maxCode; l++ {
		first[l] = sum
		c.offset[l] = int32(sum) - int32(next>>(maxCode-l))
		next += uint32(count[l]) << (maxCode - l)
		c.limit[l] = next
		if sum += count[l]; count[l] > 0 {
			c.longest = l
		}
	}
	if sum > 0 && next != 1<<maxCode {
		return ErrCorrupt
	}
	if cap(c.sorted) < sum {
		c.sorted = make([]uint16, sum, len(lengths))
	}
	c.sorted = c.sorted[:sum]
	for symbol, l := range lengths {
		if l == 0 {
			continue
		}
		c.sorted[first[l]] = uint16(symbol)
		if l <= fastBits {
			at := (first[l] - int(c.offset[l])) << (fastBits - l)
			for i := range 1 << (fastBits - l) {
				c.fast[at+i] = uint16(symbol)<<4 | uint16(l)
			}
		}
		first[l]++
	}
	return nil
}

// decode reads a symbol.
func (c *code) decode(b *bits) (int, error) {
	peek := b.peek(maxCode)
	if e := c.fast[peek>>(maxCode-fastBits)]; e != 0 {
		return int(e >> 4), b.skip(uint(e & 15))
	}
	for l := 1; l <= c.longest; l++ {
		if peek < c.limit[l] {
			return int(c.sorted[int32(peek>>(maxCode-l))+c.offset[l]]), b.skip(uint(l))
		}
	}
	return 0, ErrCorrupt
}

// bits reads bits from words of 16, little-endian, the highest bit first. As
// soon as 16 bits or fewer are left the next word is read, since bytes may lie
// between words; behind the end there are zeros, which may be looked at and
// not used.
type bits struct {
	src  []byte
	at   int    // of the next word
	held uint64 // the next bits, from the highest on
	n    uint   // of them
	real int    // bits that were there, less those that were used
}

func newBits(src []byte) *bits {
	b := &bits{src: src}
	b.fill()
	return b
}

// fill keeps at least 16 bits.
func (b *bits) fill() {
	for b.n < 16 {
		if b.at+2 <= len(b.src) {
			b.held |= uint64(le.Uint16(b.src[b.at:])) << (48 - b.n)
			b.at += 2
			b.real += 16
		}
		b.n += 16
	}
}

// peek gives the next n bits, 16 at most.
func (b *bits) peek(n uint) uint32 { return uint32(b.held >> (64 - n)) }

func (b *bits) skip(n uint) error {
	if b.real -= int(n); b.real < 0 {
		return ErrCorrupt
	}
	b.held <<= n
	b.n -= n
	b.fill()
	return nil
}

// read takes n bits, 16 at most.
func (b *bits) read(n uint) (int, error) {
	if n == 0 {
		return 0, nil
	}
	v := b.peek(n)
	return int(v), b.skip(n)
}
