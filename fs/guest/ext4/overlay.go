package ext4

import (
	"cmp"
	"context"
	"slices"

	"holdfast/fs/guest"
)

// journalMagic begins every block of the journal's own. A copied block that
// begins with it has zeros there instead, and a flag that says so.
const journalMagic = 0xc03b3998

// copied is a home block's newest committed copy in the journal.
type copied struct {
	home, place uint64
	sum         uint32 // as the journal has it
	sequence    uint32 // of the transaction, which the checksum covers
	seed        uint32
	check       sumKind
	escaped     bool
}

// sumKind is how a copy's checksum is kept.
type sumKind uint8

const (
	sumNone sumKind = iota
	sum16           // the low half, with csum_v2
	sum32           // with csum_v3
)

// overlay is the home blocks that the journal has newer copies of, in order,
// each once.
type overlay []copied

// next gives the copy of the first home block at or behind a block, or nil.
func (o overlay) next(block uint64) *copied {
	i, _ := slices.BinarySearchFunc(o, block, func(c copied, block uint64) int { return cmp.Compare(c.home, block) })
	if i == len(o) {
		return nil
	}
	return &o[i]
}

// readCopy reads a copy from the journal and verifies it.
func (f *FS) readCopy(ctx context.Context, c *copied) ([]byte, error) {
	b := make([]byte, f.sb.blockSize)
	if err := f.readFull(ctx, b, int64(c.place)*int64(f.sb.blockSize)); err != nil {
		return nil, err
	}
	sum := crc32c(c.seed, be.AppendUint32(nil, c.sequence))
	sum = crc32c(sum, b)
	if c.check == sum16 && uint16(sum) != uint16(c.sum) || c.check == sum32 && sum != c.sum {
		return nil, guest.Corrupt("ext4 journal: the copy of block %d in transaction %d has a wrong checksum", c.home, c.sequence)
	}
	if c.escaped {
		be.PutUint32(b, journalMagic)
	}
	return b, nil
}
