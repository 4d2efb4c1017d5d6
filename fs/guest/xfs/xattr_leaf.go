package xfs

import (
	"context"

	"holdfast/fs/guest"
)

// Leaves of xattrs (Leaf Attributes), found through a tree of hashes
// (hashtree.go) in blocks of the filesystem's size. Behind the common head:
// entries 2, used bytes 2, first used 2, holes 1, unused 1, free map 12 (and 4
// unused in version 5); then for each entry hash 4, place 2, flags 1, unused 1.
// At its place lie, with attrLocal, the length of the value 2, that of the name
// 1, name, value; else the value's block 4, its length 4, the length of the
// name 1, name.
//
// Such a value fills blocks of the fork; in version 5 each begins with magic 4,
// offset 4, bytes 4, checksum 4, uuid 16, owner 8, place 8, LSN 8.
const (
	attrLeaf    = 0xfbee
	attrLeafV5  = 0x3bee
	leafHead    = 32
	leafHeadV5  = 80
	remoteMagic = 0x5841524d
)

// eachLeafXattr adds the xattrs of all leaves.
func (f *FS) eachLeafXattr(ctx context.Context, in *inode, set *xattrSet) error {
	leaf, err := f.findLeaf(ctx, in, &in.xattr, 0, 1, 0)
	if err != nil {
		return err
	}
	// A leaf is half full at least, but for the last few.
	for budget := 2*maxXattrTotal>>f.sb.blockLog + 16; leaf != nil; budget-- {
		if budget == 0 {
			return guest.Corrupt("xfs inode %d: too many leaves of xattrs", in.number)
		}
		if err := f.addLeaf(ctx, in, leaf, set); err != nil {
			return err
		}
		if leaf.forward == 0 {
			return nil
		}
		next, err := f.readDa(ctx, in, &in.xattr, leaf.forward, 1)
		if err != nil {
			return err
		}
		leaf = &next
	}
	return nil
}

// addLeaf adds the xattrs of one leaf.
func (f *FS) addLeaf(ctx context.Context, in *inode, leaf *daBlock, set *xattrSet) error {
	b, countAt, head := leaf.data, 12, leafHead
	if f.sb.v5 {
		countAt, head = remoteHead, leafHeadV5
	}
	if leaf.magic != attrLeaf {
		return guest.Corrupt("xfs inode %d: its xattrs lead to magic %#x", in.number, leaf.magic)
	}
	count := int(be.Uint16(b[countAt:]))
	if count > (len(b)-head)/8 {
		return guest.Corrupt("xfs inode %d: %d xattrs in a block", in.number, count)
	}
	for i := range count {
		e := b[head+8*i:]
		at, flags := int(be.Uint16(e[4:])), e[6]
		if at > len(b) {
			return guest.Corrupt("xfs inode %d: an xattr at %d of a block", in.number, at)
		}
		if flags&attrIncomplete != 0 {
			continue
		}
		if err := f.addLeafEntry(ctx, in, b[at:], flags, set); err != nil {
			return err
		}
	}
	return nil
}

// addLeafEntry adds the xattr that b begins with.
func (f *FS) addLeafEntry(ctx context.Context, in *inode, b []byte, flags byte, set *xattrSet) error {
	short := guest.Corrupt("xfs inode %d: an xattr ends behind its block", in.number)
	if flags&attrLocal != 0 {
		if len(b) < 3 || len(b) < 3+int(b[2])+int(be.Uint16(b)) {
			return short
		}
		name := b[3:][:b[2]]
		return set.add(flags, name, b[3+len(name):][:be.Uint16(b)])
	}
	if len(b) < 9 || len(b) < 9+int(b[8]) {
		return short
	}
	value, err := f.remoteValue(ctx, in, uint64(be.Uint32(b)), be.Uint32(b[4:]))
	if err != nil {
		return err
	}
	return set.add(flags, b[9:][:b[8]], value)
}

// remoteValue reads a value that has blocks of its own.
func (f *FS) remoteValue(ctx context.Context, in *inode, block uint64, length uint32) ([]byte, error) {
	if length > maxXattrValue {
		return nil, guest.Corrupt("xfs inode %d: an xattr of %d bytes", in.number, length)
	}
	value := make([]byte, 0, length)
	for ; len(value) < int(length); block++ {
		b, off, err := f.readFork(ctx, in, &in.xattr, block, 1)
		if err != nil {
			return nil, err
		}
		piece := b.data
		if f.sb.v5 {
			bytes := int64(be.Uint32(piece[8:]))
			if be.Uint32(piece) != remoteMagic || int(be.Uint32(piece[4:])) != len(value) || be.Uint64(piece[32:]) != in.number ||
				bytes == 0 || bytes > f.sb.blockSize-remoteHead {
				return nil, guest.Corrupt("xfs inode %d: the block at byte %d does not hold its xattr", in.number, off)
			}
			if err := f.verify(b, sealRemote, off); err != nil {
				return nil, err
			}
			piece = piece[remoteHead:][:bytes]
		}
		value = append(value, piece[:min(len(piece), int(length)-len(value))]...)
	}
	return value, nil
}
