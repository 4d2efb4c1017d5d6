package xfs

import (
	"context"
	"sort"

	"holdfast/fs/guest"
)

// The B+tree of a fork's extents (Extent List, B+tree): its root in the inode
// is level 2, records 2, then keys and pointers of 8 bytes, each as many as
// fit; its blocks (Long Format B+tree Block) magic 4, level 2, records 2,
// siblings 8 + 8, and in version 5 place 8, LSN 8, uuid 16, owner 8,
// checksum 4 and 4 unused.
const (
	bmapMagic   = 0x424d4150
	bmapMagicV5 = 0x424d4133
	bmapRoot    = 4
	longHead    = 24
	longHeadV5  = 72
)

// mapBlock gives the run that begins at a block of a fork and goes on as long
// as the structure at hand says; the next one may go on from it. Its count is
// at least 1.
func (f *FS) mapBlock(ctx context.Context, in *inode, k *fork, block uint64) (run, error) {
	limit := f.sb.maxFileBlock()
	if block >= limit {
		return run{}, guest.Corrupt("xfs inode %d: block %d of a file", in.number, block)
	}
	switch k.format {
	case formatExtents:
		if k.extents > uint64(len(k.bytes)/recordLen) {
			return run{}, guest.Corrupt("xfs inode %d: %d extents in a fork of %d bytes", in.number, k.extents, len(k.bytes))
		}
		return f.searchRecords(in, k.bytes, int(k.extents), block, limit)
	case formatTree:
		return f.mapTree(ctx, in, k, block, limit)
	}
	return run{}, guest.Corrupt("xfs inode %d: a fork of format %d has no extents", in.number, k.format)
}

// mapTree searches the B+tree. limit narrows to where the subtree ends.
func (f *FS) mapTree(ctx context.Context, in *inode, k *fork, block, limit uint64) (run, error) {
	if len(k.bytes) < bmapRoot {
		return run{}, guest.Corrupt("xfs inode %d: a fork of %d bytes", in.number, len(k.bytes))
	}
	level, count := int(be.Uint16(k.bytes)), int(be.Uint16(k.bytes[2:]))
	if level < 1 || level > maxLevels {
		return run{}, guest.Corrupt("xfs inode %d: an extent B+tree of %d levels", in.number, level)
	}
	node := k.bytes[bmapRoot:]
	for ; level > 0; level-- {
		fit := len(node) / 16
		if count == 0 || count > fit {
			return run{}, guest.Corrupt("xfs inode %d: a node of its extent B+tree has %d keys", in.number, count)
		}
		next := sort.Search(count, func(i int) bool { return be.Uint64(node[8*i:]) > block })
		if next < count {
			limit = min(limit, be.Uint64(node[8*next:]))
		}
		if next == 0 { // before the first extent
			return run{start: block, count: limit - block, hole: true}, nil
		}
		var err error
		if node, count, err = f.bmapBlock(ctx, in, be.Uint64(node[8*(fit+next-1):]), level-1); err != nil {
			return run{}, err
		}
	}
	if count > len(node)/recordLen {
		return run{}, guest.Corrupt("xfs inode %d: a leaf of its extent B+tree has %d records", in.number, count)
	}
	return f.searchRecords(in, node, count, block, limit)
}

// bmapBlock reads a block of the tree: what follows its header, and a count
// that is not yet checked.
func (f *FS) bmapBlock(ctx context.Context, in *inode, number uint64, level int) ([]byte, int, error) {
	b, off, err := f.block(ctx, number, 1)
	if err != nil {
		return nil, 0, err
	}
	magic, head := uint32(bmapMagic), longHead
	if f.sb.v5 {
		magic, head = bmapMagicV5, longHeadV5
	}
	if be.Uint32(b.data) != magic || int(be.Uint16(b.data[4:])) != level {
		return nil, 0, guest.Corrupt("xfs inode %d: block %#x is no block of level %d of its extent B+tree", in.number, number, level)
	}
	return b.data[head:], int(be.Uint16(b.data[6:])), f.verify(b, sealLongTree, off)
}

// eachRun calls fn for the runs of a fork from one block up to another, holes
// among them, each joined with what goes on from it, until fn returns false.
// A file has no more runs than the volume has blocks and holes between them:
// one that claims more is damaged.
func (f *FS) eachRun(ctx context.Context, in *inode, k *fork, from, to uint64, fn func(run) bool) error {
	var open run // not yet given
	budget := 4*f.sb.blocks + 1024
	for block := from; block < to; budget-- {
		if budget == 0 {
			return guest.Corrupt("xfs inode %d: more extents than the volume has blocks", in.number)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next, err := f.mapBlock(ctx, in, k, block)
		if err != nil {
			return err
		}
		next.count = min(next.count, to-block)
		block = next.end()
		switch {
		case open.count > 0 && open.hole == next.hole && (next.hole || f.follows(open, next)):
			open.count += next.count
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

// follows says that b's blocks come behind those of a, in the same AG.
func (f *FS) follows(a, b run) bool {
	return a.block+a.count == b.block && a.block>>f.sb.groupLog == b.block>>f.sb.groupLog
}

// readFork gives count blocks of a fork from a block on as one buffer, and the
// place of the first in bytes. A hole among them is damage. count is bounded
// by the caller.
func (f *FS) readFork(ctx context.Context, in *inode, k *fork, block, count uint64) (buffer, int64, error) {
	r, err := f.mapBlock(ctx, in, k, block)
	if err != nil {
		return buffer{}, 0, err
	}
	if r.hole {
		return buffer{}, 0, guest.Corrupt("xfs inode %d: a hole at block %d of its directory or xattrs", in.number, block)
	}
	first, off, err := f.block(ctx, r.block, min(r.count, count))
	if err != nil || r.count >= count {
		return first, off, err
	}
	rest, _, err := f.readFork(ctx, in, k, block+r.count, count-r.count)
	if err != nil {
		return buffer{}, 0, err
	}
	whole := append(append([]byte(nil), first.data...), rest.data...)
	return buffer{data: whole, fromLog: first.fromLog || rest.fromLog}, off, nil
}
