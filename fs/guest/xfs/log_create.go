package xfs

import (
	"context"

	"holdfast/fs/guest"
)

// The item of new inodes (Inode Create Log Item), big-endian but for its first
// fields: type 2, regions 2, AG 4, block 4, inodes 4, inode size 4, blocks 4,
// generation 4.
const (
	createLen = 28
	maxCreate = 128 // blocks: 64 inodes of 2 KiB are 128 KiB, in blocks of 1 KiB or more
)

// create makes empty inodes, unless their buffers were cancelled later.
func (r *replayer) create(ctx context.Context, it *item) error {
	f, b := r.fs, it.regions[0]
	if len(b) < createLen {
		return guest.Corrupt("xfs log: new inodes in %d bytes", len(b))
	}
	group, first, blocks, generation := be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint32(b[20:]), b[24:28]
	if group >= f.sb.groups || int64(be.Uint32(b[16:])) != f.sb.inodeSize || blocks == 0 || blocks > maxCreate {
		return guest.Corrupt("xfs log: new inodes in %d blocks of AG %d", blocks, group)
	}
	number := uint64(group)<<f.sb.groupLog | uint64(first)
	off, err := f.sb.place(number, uint64(blocks))
	if err != nil {
		return err
	}
	cluster := f.sb.clusterBlocks()
	for done := uint32(0); done < blocks; done += cluster {
		e := extent{place: (off + int64(done)<<f.sb.blockLog) / sector, count: cluster << f.sb.blockLog / sector}
		if r.cancels.counts[e] > 0 {
			return nil
		}
	}
	for i := range uint64(blocks) << f.sb.inodesLog {
		inode := f.newInode(number<<f.sb.inodesLog+i, generation)
		if err := f.change(ctx, inode, off+int64(i)*f.sb.inodeSize); err != nil {
			return err
		}
	}
	return nil
}

// newInode makes an inode that is not in use.
func (f *FS) newInode(number uint64, generation []byte) []byte {
	b := make([]byte, f.sb.inodeSize)
	be.PutUint16(b, inodeMagic)
	copy(b[92:], generation)
	be.PutUint32(b[96:], ^uint32(0))
	if b[4] = 2; f.sb.v5 {
		b[4] = 3
		be.PutUint64(b[152:], number)
		copy(b[inodeUUID:], f.sb.metaUUID[:])
	}
	return b
}
