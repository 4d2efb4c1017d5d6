package xfs

import (
	"sort"

	"holdfast/fs/guest"
)

// Formats of a fork (di_format).
const (
	formatDevice  = 0
	formatLocal   = 1
	formatExtents = 2
	formatTree    = 3
)

// fork is one of an inode's two: its content, its extents, or the root of a
// B+tree of extents.
type fork struct {
	format  byte
	bytes   []byte
	extents uint64 // as the inode counts them
}

// An extent's record is 16 bytes (Extent List): a bit for «unwritten», 54 bits
// of the file's block, 52 of the volume's, 21 of the length in blocks.
const (
	recordLen = 16
	maxRecord = 1<<21 - 1
)

// run is a stretch of a file, in blocks. A hole has no place: it was never
// written, whether or not blocks are set aside for it.
type run struct {
	start, count uint64
	block        uint64 // number, AG and all
	hole         bool
}

func (r run) end() uint64 { return r.start + r.count }

// from gives the part of a run from a block on.
func (r run) from(block uint64) run {
	skipped := block - r.start
	r.start, r.count = block, r.count-skipped
	if !r.hole {
		r.block += skipped
	}
	return r
}

func parseRecord(b []byte) run {
	high, low := be.Uint64(b), be.Uint64(b[8:])
	return run{start: high << 1 >> 10, block: high&0x1ff<<43 | low>>21, count: low & maxRecord, hole: high>>63 != 0}
}

// searchRecords gives the run that begins at a block, among n records that are
// the file's from some block up to limit.
func (f *FS) searchRecords(in *inode, b []byte, n int, block, limit uint64) (run, error) {
	start := func(i int) uint64 { return be.Uint64(b[i*recordLen:]) << 1 >> 10 }
	next := sort.Search(n, func(i int) bool { return start(i) > block })
	end := limit
	if next < n {
		end = min(end, start(next))
	}
	if next > 0 {
		r := parseRecord(b[(next-1)*recordLen:])
		if r.count == 0 || r.end() > end && next < n {
			return run{}, guest.Corrupt("xfs inode %d: an extent of %d blocks at %d, the next at %d", in.number, r.count, r.start, end)
		}
		if block < r.end() {
			if _, err := f.sb.place(r.block, r.count); err != nil {
				return run{}, guest.Corrupt("xfs inode %d: content in %d blocks at %#x", in.number, r.count, r.block)
			}
			return r.from(block), nil
		}
	}
	return run{start: block, count: end - block, hole: true}, nil
}
