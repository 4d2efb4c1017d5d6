package xfs

import "fmt"

// A record's data are operations (Log Operations): transaction 4, length 4,
// client 1, flags 1, 2 unused; then that many bytes. A transaction is a start,
// a header of 16 bytes, the regions of its items, and a commit; a region may go
// on in a later record. The first region of an item is its format, which
// begins with a type 2 and the number of regions 2.
const (
	opHead         = 12
	opStart        = 0x01
	opCommit       = 0x02
	opContinue     = 0x04
	opWasContinued = 0x08
	opEnd          = 0x10
	opUnmount      = 0x20

	transactionMagic = 0x5452414e
	transactionHead  = 16
	maxRegions       = 64<<10/128/2 + 1 // of a buffer of 64 KiB with each second part changed
	maxOpen          = 64 << 20         // bytes of all transactions that are not committed
)

// item is one change of a transaction.
type item struct {
	regions [][]byte
	count   int // of regions that it will have
}

// kind is the type in its format.
func (it *item) kind() uint16 { return le.Uint16(it.regions[0]) }

// transaction is one transaction as far as it was read.
type transaction struct {
	lsn   uint64 // of the record that it starts in
	head  int    // bytes of its header
	items []*item
	bytes int
}

// assembler puts transactions together and gives them at their commit, with
// all their items whole.
type assembler struct {
	open      map[uint32]*transaction
	bytes     int // of all that are open
	committed func(*transaction) error
}

// add takes a record's operations.
func (a *assembler) add(r *record) error {
	b := r.data
	for range r.operations {
		if len(b) < opHead || uint64(be.Uint32(b[4:])) > uint64(len(b)-opHead) {
			return fmt.Errorf("log record at sector %d: an operation ends behind it", r.place)
		}
		length := int(be.Uint32(b[4:]))
		if err := a.operation(r, be.Uint32(b), b[9], b[opHead:][:length]); err != nil {
			return fmt.Errorf("log record at sector %d: %w", r.place, err)
		}
		b = b[opHead+length:]
	}
	return nil
}

// operation takes one operation. One of a transaction that started before the
// tail is passed over: all it changed is on disk.
func (a *assembler) operation(r *record, id uint32, flags byte, data []byte) error {
	if flags&opStart != 0 {
		a.drop(id)
		a.open[id] = &transaction{lsn: r.lsn}
		return nil
	}
	t := a.open[id]
	if t == nil {
		return nil
	}
	switch flags &^ opEnd &^ opContinue {
	case 0:
		return a.region(t, data)
	case opWasContinued:
		return a.more(t, data)
	case opCommit:
		a.drop(id)
		for _, it := range t.items {
			if it.count == 0 || len(it.regions) != it.count {
				return fmt.Errorf("a transaction is committed without all of its regions")
			}
		}
		return a.committed(t)
	case opUnmount:
		a.drop(id)
		return nil
	}
	return fmt.Errorf("an operation with flags %#x", flags)
}

func (a *assembler) drop(id uint32) {
	if t := a.open[id]; t != nil {
		a.bytes -= t.bytes
		delete(a.open, id)
	}
}

// keep counts what a transaction will hold.
func (a *assembler) keep(t *transaction, data []byte) error {
	const overhead = 64
	t.bytes += len(data) + overhead
	a.bytes += len(data) + overhead
	if a.bytes > maxOpen {
		return fmt.Errorf("open transactions of more than %d MiB", maxOpen>>20)
	}
	return nil
}

// region takes the start of a region.
func (a *assembler) region(t *transaction, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if t.head == 0 {
		if len(data) < 4 || len(data) > transactionHead || le.Uint32(data) != transactionMagic {
			return fmt.Errorf("a transaction without a header")
		}
		t.head = len(data)
		return nil
	}
	if t.head < transactionHead {
		return fmt.Errorf("a transaction with a header of %d bytes", t.head)
	}
	if err := a.keep(t, data); err != nil {
		return err
	}
	n := len(t.items)
	if n == 0 || len(t.items[n-1].regions) == t.items[n-1].count {
		if len(data) < 4 || le.Uint16(data[2:]) == 0 || le.Uint16(data[2:]) > maxRegions {
			return fmt.Errorf("an item without a number of regions")
		}
		t.items, n = append(t.items, &item{count: int(le.Uint16(data[2:]))}), n+1
	}
	it := t.items[n-1]
	it.regions = append(it.regions, append([]byte(nil), data...))
	return nil
}

// more takes what a region, or the header, goes on with.
func (a *assembler) more(t *transaction, data []byte) error {
	if len(t.items) == 0 {
		if t.head += len(data); t.head > transactionHead {
			return fmt.Errorf("a transaction with a header of %d bytes", t.head)
		}
		return nil
	}
	if err := a.keep(t, data); err != nil {
		return err
	}
	it := t.items[len(t.items)-1]
	last := len(it.regions) - 1
	it.regions[last] = append(it.regions[last], data...)
	return nil
}
