package xfs

import (
	"context"

	"holdfast/fs/guest"
)

// Headers of an allocation group (AG Free Space Management, AG Inode
// Management); the sectors behind its superblock. Used here:
//
//	AGF  0 magic  4 version  8 AG  12 length  16 root by place  28 its levels
//	     48 blocks in the free list  52 free blocks  60 blocks of the B+trees
//	     64 uuid  208 LSN  216 checksum
//	AGI  0 magic  4 version  8 AG  12 length  20 root  24 its levels
//	     296 uuid  312 checksum  320 LSN
const (
	agfMagic = 0x58414746
	agiMagic = 0x58414749
	agfSum   = 216
	agfUUID  = 64
	agiSum   = 312
	agiUUID  = 296

	agfSector = 1
	agiSector = 2
)

// group is what both headers of an AG tell.
type group struct {
	number       uint32
	length       uint32 // in blocks
	root, levels uint32 // of the B+tree
	free         uint64 // blocks, from the AGF
}

// freeGroup reads an AG's AGF: its tree is that of free space by place.
func (f *FS) freeGroup(ctx context.Context, number uint32) (group, error) {
	b, err := f.groupHeader(ctx, number, agfSector, agfMagic, agfUUID, agfSum)
	if err != nil {
		return group{}, err
	}
	g := group{number: number, length: be.Uint32(b[12:]), root: be.Uint32(b[16:]), levels: be.Uint32(b[28:])}
	g.free = uint64(be.Uint32(b[52:])) + uint64(be.Uint32(b[48:])) + uint64(be.Uint32(b[60:]))
	return g, f.checkGroup(g)
}

// inodeGroup reads an AG's AGI: its tree is that of inodes.
func (f *FS) inodeGroup(ctx context.Context, number uint32) (group, error) {
	b, err := f.groupHeader(ctx, number, agiSector, agiMagic, agiUUID, agiSum)
	if err != nil {
		return group{}, err
	}
	g := group{number: number, length: be.Uint32(b[12:]), root: be.Uint32(b[20:]), levels: be.Uint32(b[24:])}
	return g, f.checkGroup(g)
}

// groupHeader reads and verifies one of an AG's header sectors.
func (f *FS) groupHeader(ctx context.Context, number uint32, nth int64, magic uint32, uuidAt, sumAt int) ([]byte, error) {
	off := f.sb.groupStart(number) + nth*f.sb.sectorSize
	b, err := f.read(ctx, off, f.sb.sectorSize)
	if err != nil {
		return nil, err
	}
	switch {
	case be.Uint32(b.data) != magic || be.Uint32(b.data[8:]) != number:
		return nil, guest.Corrupt("xfs AG %d: sector %d is not its header", number, nth)
	case f.sb.v5 && [16]byte(b.data[uuidAt:]) != f.sb.metaUUID:
		return nil, guest.Corrupt("xfs AG %d: the header in sector %d is another filesystem's", number, nth)
	case f.sb.v5 && !f.sumOK(b, sumAt):
		return nil, guest.Corrupt("xfs AG %d: the header in sector %d has a wrong checksum", number, nth)
	}
	return b.data, nil
}

func (f *FS) checkGroup(g group) error {
	if g.length != f.sb.groupLen(g.number) || g.levels < 1 || g.levels > maxLevels {
		return guest.Corrupt("xfs AG %d: %d blocks, a B+tree of %d levels", g.number, g.length, g.levels)
	}
	return nil
}
