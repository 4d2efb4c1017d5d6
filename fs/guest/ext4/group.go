package ext4

import (
	"context"

	"holdfast/fs/guest"
)

// Flags of a group descriptor.
const (
	groupInodesUnset = 0x1 // inode bitmap and table were never written
	groupBlocksUnset = 0x2 // nor was the block bitmap
)

// group is a group descriptor (Block Group Descriptors):
//
//	0x00 block bitmap  0x04 inode bitmap  0x08 inode table  0x0c free clusters
//	0x12 flags  0x18, 0x1a checksums of the bitmaps  0x1c unused inodes
//	0x1e checksum  from 0x20 on the upper halves of the same
type group struct {
	blockBitmap, inodeBitmap, table uint64
	freeClusters, unusedInodes      uint32
	flags                           uint16
	blockCsum, inodeCsum            uint32
	number                          uint32
	disk                            []byte // as it lies on disk; part of a cached page
}

// group reads a group's descriptor.
func (f *FS) group(ctx context.Context, number uint32) (group, error) {
	if number >= f.sb.groups {
		return group{}, guest.Corrupt("ext4: group %d of %d", number, f.sb.groups)
	}
	block, off := f.sb.descPlace(number)
	b, err := f.block(ctx, block)
	if err != nil {
		return group{}, err
	}
	d := b[off:][:f.sb.descSize]
	g := group{
		number: number, disk: d, blockBitmap: uint64(le.Uint32(d)), inodeBitmap: uint64(le.Uint32(d[4:])), table: uint64(le.Uint32(d[8:])),
		freeClusters: uint32(le.Uint16(d[0xc:])), unusedInodes: uint32(le.Uint16(d[0x1c:])), flags: le.Uint16(d[0x12:]),
		blockCsum: uint32(le.Uint16(d[0x18:])), inodeCsum: uint32(le.Uint16(d[0x1a:])),
	}
	if f.sb.has64Bit() {
		g.blockBitmap |= uint64(le.Uint32(d[0x20:])) << 32
		g.inodeBitmap |= uint64(le.Uint32(d[0x24:])) << 32
		g.table |= uint64(le.Uint32(d[0x28:])) << 32
		g.freeClusters |= uint32(le.Uint16(d[0x2c:])) << 16
		g.unusedInodes |= uint32(le.Uint16(d[0x32:])) << 16
		g.blockCsum |= uint32(le.Uint16(d[0x38:])) << 16
		g.inodeCsum |= uint32(le.Uint16(d[0x3a:])) << 16
	}
	if !f.sb.descCsum() {
		g.flags = 0
	}
	return g, nil
}

// trusted says that a descriptor's checksum is right.
func (f *FS) trusted(g group) bool {
	d, found := g.disk, le.Uint16(g.disk[0x1e:])
	switch {
	case f.sb.metadataCsum():
		sum := crc32cZeros(crc32c(crc32cNumber(f.sb.seed, g.number), d[:0x1e]), 2)
		return uint16(crc32c(sum, d[0x20:])) == found
	case !f.sb.descCsum():
		return true
	}
	sum := crc16(crc16(^uint16(0), f.sb.uuid[:]), le.AppendUint32(nil, g.number))
	sum = crc16(sum, d[:0x1e])
	if f.sb.has64Bit() {
		sum = crc16(sum, d[0x20:])
	}
	return sum == found
}
