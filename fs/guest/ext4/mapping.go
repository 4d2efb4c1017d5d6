package ext4

import (
	"context"

	"holdfast/fs/guest"
)

// maxLogical is the number of blocks that a file can have.
const maxLogical = 1 << 32

// run is a stretch of a file, in blocks. A hole was never written; it has a
// place only if blocks are set aside for it.
type run struct {
	start, count uint64
	place        uint64
	hole         bool
	unwritten    bool // a hole with a place
}

func (r run) end() uint64 { return r.start + r.count }

// from gives the part of a run from a block on.
func (r run) from(block uint64) run {
	skipped := block - r.start
	r.start, r.count = block, r.count-skipped
	if !r.hole || r.unwritten {
		r.place += skipped
	}
	return r
}

// mapBlock gives the run that begins at a logical block and goes on as long as
// the structure at hand says; the next one may go on from it. Its count is at
// least 1.
func (f *FS) mapBlock(ctx context.Context, in *inode, block uint64) (run, error) {
	switch {
	case block >= maxLogical:
		return run{}, guest.Corrupt("ext4 inode %d: block %d of a file", in.number, block)
	case in.changes != nil && in.changes.mapped && in.flags&flagExtents != 0:
		return in.changes.mapBlock(block), nil
	case in.flags&flagExtents != 0:
		return f.mapExtent(ctx, in, block)
	}
	return f.mapIndirect(ctx, in, block)
}

// checkPlace bounds the blocks of a file's content.
func (f *FS) checkPlace(in *inode, place, count uint64) error {
	if place == 0 || place >= f.sb.blocks || count > f.sb.blocks-place {
		return guest.Corrupt("ext4 inode %d: content in %d blocks at %d of %d", in.number, count, place, f.sb.blocks)
	}
	return nil
}

// eachRun calls fn for the runs of a file from one block up to another, holes
// among them, each joined with what goes on from it, until fn returns false.
// A file has no more runs than the volume has blocks and holes between them:
// one that claims more is damaged.
func (f *FS) eachRun(ctx context.Context, in *inode, from, to uint64, fn func(run) bool) error {
	var open run // not yet given
	budget := 4*f.sb.blocks + 1024
	for block := from; block < to; budget-- {
		if budget == 0 {
			return guest.Corrupt("ext4 inode %d: more extents than the volume has blocks", in.number)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next, err := f.mapBlock(ctx, in, block)
		if err != nil {
			return err
		}
		next.count = min(next.count, to-block)
		block = next.end()
		switch {
		case open.count > 0 && open.hole == next.hole && (next.hole || open.place+open.count == next.place):
			open.count += next.count // a hole's place is lost, which nobody asks for
		case open.count > 0 && !fn(open):
			return nil
		default:
			open = next
		}
	}
	if open.count > 0 {
		fn(open)
	}
	return nil
}
