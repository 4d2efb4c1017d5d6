package ext4

import (
	"context"
	"errors"
	"slices"

	"holdfast/fs/guest"
)

// tablePiece is how much of an inode table Files reads at a time: it reads
// each once, so not through the cache.
const tablePiece = 256 << 10

// Files implements guest.Filesystem, in the order of the inode tables. Files
// that can't be read for damage or encryption are left out; an inode of the
// filesystem's own is no file. All files together have no more extents than
// the volume has blocks: when they claim more, it ends with guest.ErrCorrupt.
func (f *FS) Files(ctx context.Context, fn func(n guest.Node, size int64, e guest.Extent) bool) error {
	t := tables{fs: f, fn: fn, budget: 2*f.sb.blocks + 1024}
	for g := range f.sb.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		desc, err := f.group(ctx, g)
		if err == nil {
			err = t.group(ctx, g, desc)
		}
		if err != nil && !errors.Is(err, guest.ErrCorrupt) {
			return err
		}
		if t.budget == 0 {
			return guest.Corrupt("ext4: its files have more extents than the volume has blocks")
		}
		if t.stopped {
			return nil
		}
	}
	return nil
}

// tables is one walk over all inode tables.
type tables struct {
	fs      *FS
	fn      func(n guest.Node, size int64, e guest.Extent) bool
	budget  uint64 // of extents
	stopped bool

	// Used again and again: one of each for every inode and group is garbage that takes
	// as long to make as all else that the walk does with them.
	at    inode
	piece []byte
}

// group walks the inodes of a group that may be in use.
func (t *tables) group(ctx context.Context, number uint32, g group) error {
	sb := &t.fs.sb
	count := sb.inodesPerGroup
	if sb.descCsum() && t.fs.trusted(g) && t.fs.fast == nil {
		if g.flags&groupInodesUnset != 0 {
			return nil
		}
		count -= min(g.unusedInodes, count)
	}
	if g.table == 0 || g.table >= sb.blocks || sb.tableBlocks() > sb.blocks-g.table {
		return guest.Corrupt("ext4 group %d: its inode table at block %d of %d", number, g.table, sb.blocks)
	}
	size := sb.inodeSize
	first := number*sb.inodesPerGroup + 1
	piece := t.room(int(min(tablePiece, uint64(count)*uint64(size))))
	for done := uint32(0); done < count && !t.stopped && t.budget > 0; {
		n := min(uint32(len(piece))/size, count-done)
		off := int64(g.table)*int64(sb.blockSize) + int64(done)*int64(size)
		if err := t.fs.readBytes(ctx, piece[:n*size], off); err != nil {
			return err
		}
		for i := range n {
			if err := t.inode(ctx, first+done+i, piece[i*size:][:size]); err != nil {
				return err
			}
		}
		done += n
	}
	return nil
}

// room returns n bytes that hold anything, until the next call.
func (t *tables) room(n int) []byte {
	t.piece = slices.Grow(t.piece[:0], n)
	return t.piece[:n]
}

// inode gives the extents of one file. Damage ends the file, not the walk.
func (t *tables) inode(ctx context.Context, number uint32, b []byte) error {
	f := t.fs
	if t.stopped || t.budget == 0 || number < f.sb.firstInode || number > f.sb.inodes {
		return nil
	}
	changes := f.fast.inode(number)
	if changes != nil && changes.raw != nil {
		b = changes.raw
	} else if le.Uint16(b)&modeType != modeFile || f.checkInode(number, b) != nil {
		return nil
	}
	in := &t.at
	err := f.parseInto(in, number, b, changes)
	if err != nil || in.links == 0 || in.size == 0 || !in.is(modeFile) || in.flags&(flagEAInode|flagInline|flagEncrypted) != 0 {
		return nil
	}
	err = f.eachExtent(ctx, in, 0, func(e guest.Extent) bool {
		if t.budget--; t.budget == 0 {
			return false
		}
		if e.Place >= 0 {
			t.stopped = !t.fn(guest.Node(number), in.size, e)
		}
		return !t.stopped
	})
	if errors.Is(err, guest.ErrCorrupt) {
		return nil
	}
	return err
}
