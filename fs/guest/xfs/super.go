package xfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"holdfast/fs/guest"
)

var (
	be = binary.BigEndian
	le = binary.LittleEndian
)

const (
	superMagic    = 0x58465342 // XFSB
	superLen      = 264        // what is read of it here
	superSum      = 224
	minBlockSize  = 512
	maxBlockSize  = 64 << 10
	minInodeSize  = 256
	maxInodeSize  = 2048
	maxSectorSize = 32 << 10
	sector        = 512 // a basic block: the unit of places in the log
)

// superblock is what the reader needs of it (Superblocks):
//
//	0 magic  4 block size  8 blocks  16 real-time blocks  32 uuid  48 log start
//	56 root  64 real-time bitmap and summary inodes  84 AG blocks  88 AGs
//	96 log blocks  100 version  102 sector size  104 inode size  108 label
//	120 log2 of block size, sector size, inode size, inodes/block, AG blocks
//	126 in progress  144 free blocks  160 quota inodes  180 inode alignment
//	192 log2 of blocks in a directory block  196 log stripe unit  200 features 2
//	208 compat  212 compat ro  216 incompat  220 log incompat  224 checksum
//	232 project quota inode  248 meta uuid
type superblock struct {
	blockSize, sectorSize, inodeSize int64
	blocks, freeBlocks               uint64
	realtimeBlocks                   uint64
	root                             uint64
	groups, groupBlocks              uint32
	blockLog, groupLog, inodesLog    uint // log2 of block size, AG blocks rounded up, inodes in a block
	dirLog                           uint // log2 of blocks in a directory block
	inodeAlign                       uint32
	logStart                         uint64
	logBlocks                        uint32
	version                          uint16
	incompat, compatRO, logIncompat  uint32
	v5, ftype, foldCase              bool
	uuid, metaUUID                   [16]byte
	label                            string
	special                          [5]uint64 // inodes that are no files
}

// parseSuper reads the superblock of a volume of size bytes.
func parseSuper(b []byte, size int64) (superblock, error) {
	if len(b) < superLen || be.Uint32(b) != superMagic {
		return superblock{}, guest.ErrNotMine
	}
	sb := superblock{
		blockSize: int64(be.Uint32(b[4:])), blocks: be.Uint64(b[8:]), realtimeBlocks: be.Uint64(b[16:]), uuid: [16]byte(b[32:]),
		logStart: be.Uint64(b[48:]), root: be.Uint64(b[56:]), groupBlocks: be.Uint32(b[84:]), groups: be.Uint32(b[88:]),
		logBlocks: be.Uint32(b[96:]), version: be.Uint16(b[100:]), sectorSize: int64(be.Uint16(b[102:])), inodeSize: int64(be.Uint16(b[104:])),
		label:    string(bytes.TrimRight(b[108:120], "\x00")),
		blockLog: uint(b[120]), inodesLog: uint(b[123]), groupLog: uint(b[124]), dirLog: uint(b[192]),
		freeBlocks: be.Uint64(b[144:]), inodeAlign: be.Uint32(b[180:]),
	}
	sb.metaUUID = sb.uuid
	sb.special = [5]uint64{be.Uint64(b[64:]), be.Uint64(b[72:]), be.Uint64(b[160:]), be.Uint64(b[168:])}
	if err := sb.parseFeatures(b); err != nil {
		return sb, err
	}
	if b[126] != 0 {
		return sb, guest.Corrupt("xfs superblock: mkfs.xfs did not finish")
	}
	return sb, sb.check(size)
}

// parseFeatures refuses what can't be read.
func (sb *superblock) parseFeatures(b []byte) error {
	sb.foldCase = sb.version&versionCI != 0
	switch sb.version & versionMask {
	case 4:
		if sb.version&versionDirV2 == 0 {
			return fmt.Errorf("xfs with directories of version 1: %w", guest.ErrUnsupported)
		}
		sb.ftype = sb.version&versionMore != 0 && be.Uint32(b[200:])&feature2Ftype != 0
		return nil
	case 5:
	default:
		return fmt.Errorf("xfs version %d: %w", sb.version&versionMask, guest.ErrUnsupported)
	}
	sb.v5 = true
	sb.compatRO, sb.incompat, sb.logIncompat = be.Uint32(b[212:]), be.Uint32(b[216:]), be.Uint32(b[220:])
	if unknown := sb.incompat &^ readableIncompat; unknown != 0 {
		return fmt.Errorf("xfs with features %s: %w", nameFeatures(unknown), guest.ErrUnsupported)
	}
	sb.ftype = sb.incompat&incompatFtype != 0
	sb.special[4] = be.Uint64(b[232:])
	if sb.incompat&incompatMetaUUID != 0 {
		sb.metaUUID = [16]byte(b[248:])
	}
	return nil
}

// check holds the geometry against itself and against the volume: each later
// bound rests on it.
func (sb *superblock) check(size int64) error {
	power := func(n int64, low, high int64) bool { return n >= low && n <= high && n&(n-1) == 0 }
	switch {
	case !power(sb.blockSize, minBlockSize, maxBlockSize) || sb.blockSize != 1<<sb.blockLog,
		!power(sb.sectorSize, sector, min(sb.blockSize, maxSectorSize)),
		!power(sb.inodeSize, minInodeSize, min(sb.blockSize, maxInodeSize)) || sb.inodesLog > 8 || sb.inodeSize<<sb.inodesLog != sb.blockSize,
		sb.v5 && sb.inodeSize < 512:
		return guest.Corrupt("xfs superblock: blocks of %d bytes, sectors of %d, inodes of %d", sb.blockSize, sb.sectorSize, sb.inodeSize)
	case sb.dirLog > 7 || sb.blockSize<<sb.dirLog > maxBlockSize:
		return guest.Corrupt("xfs superblock: directory blocks of 2^%d blocks", sb.dirLog)
	case sb.groups == 0 || sb.groupBlocks < 4*uint32(max(sb.sectorSize/sb.blockSize, 1)) || uint(bits.Len32(sb.groupBlocks-1)) != sb.groupLog:
		return guest.Corrupt("xfs superblock: %d AGs of %d blocks (2^%d)", sb.groups, sb.groupBlocks, sb.groupLog)
	case sb.blocks > uint64(size)>>sb.blockLog:
		return guest.Corrupt("xfs superblock: %d blocks of %d bytes in a volume of %d bytes; is the volume cut off?", sb.blocks, sb.blockSize, size)
	case sb.blocks > uint64(sb.groups)*uint64(sb.groupBlocks) || sb.blocks <= uint64(sb.groups-1)*uint64(sb.groupBlocks):
		return guest.Corrupt("xfs superblock: %d blocks in %d AGs of %d", sb.blocks, sb.groups, sb.groupBlocks)
	}
	return nil
}
