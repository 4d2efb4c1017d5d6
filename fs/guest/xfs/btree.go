package xfs

import (
	"context"

	"holdfast/fs/guest"
)

// B+trees of an AG (Short Format B+tree Block): magic 4, level 2, records 2,
// siblings 4 + 4; in version 5 place 8, LSN 8, uuid 16, owner 4, checksum 4.
// Leaves hold records; nodes hold keys, then pointers, each as many as fit.
const (
	shortHead   = 16
	shortHeadV5 = 56
	maxLevels   = 9 // as the kernel's XFS_BTREE_MAXLEVELS
)

// tree is a kind of B+tree of an AG.
type tree struct {
	name              string
	magic, magicV5    uint32
	recordLen, keyLen int
}

var (
	treeFree  = tree{name: "free space", magic: 0x41425442, magicV5: 0x41423342, recordLen: 8, keyLen: 8}
	treeInode = tree{name: "inodes", magic: 0x49414254, magicV5: 0x49414233, recordLen: 16, keyLen: 4}
)

// treeWalk is one walk over a tree's records in order.
type treeWalk struct {
	fs     *FS
	tree   tree
	group  group
	budget uint32 // of blocks: a tree has no more of them than its AG
	// fn gets a record; it returns false to end the walk.
	fn func(record []byte) (bool, error)
}

// eachRecord calls fn for the records of an AG's tree, in order.
func (f *FS) eachRecord(ctx context.Context, t tree, g group, fn func(record []byte) (bool, error)) error {
	w := treeWalk{fs: f, tree: t, group: g, budget: g.length, fn: fn}
	_, err := w.block(ctx, g.root, int(g.levels)-1)
	return err
}

// block walks one block, which must be of that level, and what is beneath.
func (w *treeWalk) block(ctx context.Context, number uint32, level int) (more bool, err error) {
	if w.budget == 0 {
		return false, guest.Corrupt("xfs AG %d: the B+tree of %s has more blocks than the AG", w.group.number, w.tree.name)
	}
	w.budget--
	b, count, err := w.read(ctx, number, level)
	if err != nil {
		return false, err
	}
	if level == 0 {
		for ; count > 0; count-- {
			if more, err := w.fn(b[:w.tree.recordLen]); err != nil || !more {
				return false, err
			}
			b = b[w.tree.recordLen:]
		}
		return true, nil
	}
	pointers := b[len(b)/(w.tree.keyLen+4)*w.tree.keyLen:]
	for i := range count {
		if more, err := w.block(ctx, be.Uint32(pointers[4*i:]), level-1); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// read gives what follows a block's header, and the number of its records,
// which do fit.
func (w *treeWalk) read(ctx context.Context, number uint32, level int) ([]byte, int, error) {
	f := w.fs
	if number == 0 || number >= w.group.length {
		return nil, 0, guest.Corrupt("xfs AG %d: the B+tree of %s leads to block %d of %d", w.group.number, w.tree.name, number, w.group.length)
	}
	b, off, err := f.block(ctx, uint64(w.group.number)<<f.sb.groupLog|uint64(number), 1)
	if err != nil {
		return nil, 0, err
	}
	magic, head, fit := w.tree.magic, shortHead, w.tree.recordLen
	if f.sb.v5 {
		magic, head = w.tree.magicV5, shortHeadV5
	}
	if level > 0 {
		fit = w.tree.keyLen + 4
	}
	count := int(be.Uint16(b.data[6:]))
	if be.Uint32(b.data) != magic || int(be.Uint16(b.data[4:])) != level || count > (len(b.data)-head)/fit || count == 0 && uint32(level) < w.group.levels-1 {
		return nil, 0, guest.Corrupt("xfs AG %d: block %d is no block of level %d of the B+tree of %s", w.group.number, number, level, w.tree.name)
	}
	return b.data[head:], count, f.verify(b, sealShortTree, off)
}
