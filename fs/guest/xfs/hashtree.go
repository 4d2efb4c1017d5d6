package xfs

import (
	"context"
	"sort"

	"holdfast/fs/guest"
)

// The hash index of a directory and the tree over the leaves of xattrs have
// one form (Node Directories, Attribute B+tree). A block begins with the next
// one's number 4, the previous one's 4, magic 2, unused 2; in version 5
// checksum 4, place 8, LSN 8, uuid 16, owner 8. A node goes on with its entries
// 2, level 2, (4 unused in version 5), and for each entry a hash 4, which is
// the highest beneath, and a block 4; a directory's leaf with its entries 2,
// the stale among them 2, (4 unused), and for each a hash 4 and an address / 8.
const (
	nodeMagic     = 0xfebe
	nodeMagicV5   = 0x3ebe
	leaf1Magic    = 0xd2f1 // of a directory with one leaf
	leafNMagic    = 0xd2ff
	leaf1V5       = 0x3df1
	leafNV5       = 0x3dff
	daHead        = 16
	daHeadV5      = 64
	daOwner       = 48
	maxCollisions = 4096
	daLevels      = 5 // as the kernel's XFS_DA_NODE_MAXDEPTH
)

// daBlock is a block of a tree, verified.
type daBlock struct {
	data    []byte
	magic   uint16 // that of version 4
	forward uint64
}

// readDa reads a block of the tree of a fork, of count filesystem blocks.
func (f *FS) readDa(ctx context.Context, in *inode, k *fork, block, count uint64) (daBlock, error) {
	b, off, err := f.readFork(ctx, in, k, block, count)
	if err != nil {
		return daBlock{}, err
	}
	out := daBlock{data: b.data, magic: be.Uint16(b.data[8:]), forward: uint64(be.Uint32(b.data))}
	if !f.sb.v5 {
		return out, nil
	}
	if be.Uint64(b.data[daOwner:]) != in.number {
		return daBlock{}, guest.Corrupt("xfs inode %d: block %d of an index is that of inode %d", in.number, block, be.Uint64(b.data[daOwner:]))
	}
	old, ok := map[uint16]uint16{nodeMagicV5: nodeMagic, leaf1V5: leaf1Magic, leafNV5: leafNMagic, attrLeafV5: attrLeaf}[out.magic]
	if !ok {
		return daBlock{}, guest.Corrupt("xfs inode %d: block %d of an index has magic %#x", in.number, block, out.magic)
	}
	out.magic = old
	return out, f.verify(b, sealDa, off)
}

// pairs gives the entries of a node or of a directory's leaf, 8 bytes each.
func (f *FS) pairs(in *inode, b daBlock) ([]byte, error) {
	count, head := daHead-4, daHead
	if f.sb.v5 {
		count, head = daHeadV5-8, daHeadV5
	}
	n := int(be.Uint16(b.data[count:]))
	if n > (len(b.data)-head)/8 {
		return nil, guest.Corrupt("xfs inode %d: %d entries in a block of an index", in.number, n)
	}
	return b.data[head:][:8*n], nil
}

// searchPairs gives the first entry whose hash is at least that.
func searchPairs(pairs []byte, hash uint32) int {
	return sort.Search(len(pairs)/8, func(i int) bool { return be.Uint32(pairs[8*i:]) >= hash })
}

// findLeaf descends from a block to the first leaf that can hold a hash, which
// is nil when all hashes are lower.
func (f *FS) findLeaf(ctx context.Context, in *inode, k *fork, block, count uint64, hash uint32) (*daBlock, error) {
	for range daLevels + 1 {
		b, err := f.readDa(ctx, in, k, block, count)
		if err != nil {
			return nil, err
		}
		if b.magic != nodeMagic {
			return &b, nil
		}
		pairs, err := f.pairs(in, b)
		if err != nil {
			return nil, err
		}
		i := searchPairs(pairs, hash)
		if 8*i == len(pairs) {
			return nil, nil
		}
		block = uint64(be.Uint32(pairs[8*i+4:]))
	}
	return nil, guest.Corrupt("xfs inode %d: an index of more than %d levels", in.number, daLevels)
}

// findIndexed looks a name up in a directory's hash index.
func (f *FS) findIndexed(ctx context.Context, in *inode, name string) (uint64, error) {
	hash := f.hashName(name)
	leaf, err := f.findLeaf(ctx, in, &in.data, indexStart>>f.sb.blockLog, f.sb.dirBlocks(), hash)
	if err != nil {
		return 0, err
	}
	// Names of one hash may go on in the next leaf, but not for long: a
	// directory whose names all collide is searched in order.
	tries := maxCollisions
	for leaf != nil {
		if leaf.magic != leaf1Magic && leaf.magic != leafNMagic {
			return 0, guest.Corrupt("xfs directory %d: its index leads to magic %#x", in.number, leaf.magic)
		}
		pairs, err := f.pairs(in, *leaf)
		if err != nil {
			return 0, err
		}
		found, more, err := f.findPair(ctx, in, pairs, hash, name, &tries)
		if err != nil || found != 0 {
			return found, err
		}
		if !more || leaf.magic == leaf1Magic || leaf.forward == 0 {
			return 0, guest.ErrNotExist
		}
		next, err := f.readDa(ctx, in, &in.data, leaf.forward, f.sb.dirBlocks())
		if err != nil {
			return 0, err
		}
		leaf = &next
	}
	return 0, guest.ErrNotExist
}

// findPair looks a name up among the entries of one leaf; more says that the
// hash may go on in the next. It counts tries down, one for each entry of the
// hash and one for the leaf.
func (f *FS) findPair(ctx context.Context, in *inode, pairs []byte, hash uint32, name string, tries *int) (found uint64, more bool, err error) {
	*tries--
	for i := searchPairs(pairs, hash); 8*i < len(pairs); i++ {
		if be.Uint32(pairs[8*i:]) != hash {
			return 0, false, nil
		}
		if *tries--; *tries < 0 {
			return 0, false, guest.Corrupt("xfs directory %d: too many names of one hash", in.number)
		}
		address := uint64(be.Uint32(pairs[8*i+4:])) << cookieShift
		if address == 0 { // stale
			continue
		}
		e, err := f.direntAt(ctx, in, address)
		if err != nil {
			return 0, false, err
		}
		if f.sameName(e.name, name) {
			return e.inode, false, nil
		}
	}
	if *tries < 0 {
		return 0, false, guest.Corrupt("xfs directory %d: too many leaves of one hash", in.number)
	}
	return 0, true, nil
}
