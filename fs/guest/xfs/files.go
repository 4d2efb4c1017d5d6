package xfs

import (
	"context"
	"errors"
	"slices"

	"holdfast/fs/guest"
)

// Inodes lie in chunks of 64. A record of their B+tree (Inode B+trees) holds
// the first number in the AG 4, and in a sparse filesystem a mask of the holes
// 2, inodes 1, the free ones 1, else the free ones 4; then a bit for each that
// is free 8.
const chunkInodes = 64

// Files implements guest.Filesystem, in the order of the AGs' B+trees of
// inodes. Files that can't be read for damage, or that lie on a real-time
// device, are left out, and so are inodes without a name. All files together
// have no more extents than the volume has blocks, but for those that share
// them: when they claim far more, it ends with guest.ErrCorrupt. Damage in a
// tree ends its AG, and is the error in the end.
func (f *FS) Files(ctx context.Context, fn func(n guest.Node, size int64, e guest.Extent) bool) error {
	var damage error
	t := tables{fs: f, fn: fn, budget: 64*f.sb.blocks + 1024}
	for number := range f.sb.groups {
		err := t.group(ctx, number)
		switch {
		case t.stopped:
			return nil
		case t.budget == 0:
			return guest.Corrupt("xfs: its files have more extents than the volume has blocks")
		case err != nil && !errors.Is(err, guest.ErrCorrupt):
			return err
		case damage == nil:
			damage = err
		}
	}
	return damage
}

// tables is one walk over all inodes.
type tables struct {
	fs      *FS
	fn      func(n guest.Node, size int64, e guest.Extent) bool
	budget  uint64 // of extents
	stopped bool
}

// group walks the inodes of an AG that are in use.
func (t *tables) group(ctx context.Context, number uint32) error {
	g, err := t.fs.inodeGroup(ctx, number)
	if err != nil {
		return err
	}
	next := uint64(0)
	return t.fs.eachRecord(ctx, treeInode, g, func(record []byte) (bool, error) {
		first, free := uint64(be.Uint32(record)), be.Uint64(record[8:])
		if first < next {
			return false, guest.Corrupt("xfs AG %d: the inodes from %d on come behind %d", number, first, next)
		}
		next = first + chunkInodes
		for i := range uint64(chunkInodes) {
			if free>>i&1 != 0 {
				continue
			}
			group := uint64(number) << (t.fs.sb.groupLog + t.fs.sb.inodesLog)
			if err := t.inode(ctx, group|first+i); err != nil || t.stopped || t.budget == 0 {
				return false, err
			}
		}
		return true, ctx.Err()
	})
}

// inode gives the extents of one file. Damage ends the file, not the walk.
func (t *tables) inode(ctx context.Context, number uint64) error {
	f := t.fs
	if slices.Contains(f.sb.special[:], number) {
		return nil
	}
	in, err := f.inode(ctx, guest.Node(number))
	if err == nil && (!in.is(modeFile) || in.realtime) {
		return nil
	}
	if err == nil {
		err = f.eachExtent(ctx, in, 0, func(e guest.Extent) bool {
			if t.budget--; t.budget == 0 {
				return false
			}
			if !e.Hole {
				t.stopped = !t.fn(guest.Node(number), in.size, e)
			}
			return !t.stopped
		})
	}
	if errors.Is(err, guest.ErrCorrupt) || errors.Is(err, guest.ErrNotExist) {
		return nil
	}
	return err
}
