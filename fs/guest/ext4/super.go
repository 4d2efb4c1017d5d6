package ext4

import (
	"bytes"
	"fmt"

	"holdfast/fs/guest"
)

const (
	superOffset = 1024
	superLen    = 1024
	superMagic  = 0xef53

	rootInode     = 2
	maxBlockSize  = 64 << 10
	stateValid    = 0x1 // cleanly unmounted
	stateErrors   = 0x2
	hashUnsigned  = 0x2 // s_flags
	goodInodeSize = 128
)

// superblock is what the reader needs of it (Super Block):
//
//	0x00 inodes   0x04 blocks, low  0x14 first block   0x18 log block size - 10
//	0x1c log cluster size - 10      0x20 blocks/group  0x24 clusters/group
//	0x28 inodes/group  0x38 magic   0x3a state         0x4c revision
//	0x54 first inode   0x58 inode size  0x5c compat  0x60 incompat  0x64 ro
//	0x68 uuid  0x78 label  0xce reserved descriptors  0xe0 journal inode
//	0xe4 journal device  0xec hash seed  0xfe descriptor size
//	0x104 first meta group  0x150 blocks, high  0x158 free, high  0x160 flags
//	0x24c backup groups  0x270 checksum seed  0x3fc checksum
type superblock struct {
	blocks, freeBlocks             uint64
	inodes, firstInode             uint32
	firstBlock, blockSize          uint32
	blocksPerGroup, inodesPerGroup uint32
	clusterBits                    uint32 // log2 of blocks in a cluster
	clustersPerGroup               uint32
	inodeSize, descSize            uint32
	reservedDescs                  uint32
	firstMetaGroup                 uint32
	backupGroups                   [2]uint32
	compat, incompat, ro           uint32
	state                          uint16
	journalInode, journalDevice    uint32
	hashSeed                       [4]uint32
	hashUnsigned                   bool
	uuid                           [16]byte
	label                          string
	seed                           uint32 // of all metadata checksums
	groups                         uint32
}

// parseSuper reads the superblock of a volume of size bytes.
func parseSuper(b []byte, size int64) (superblock, error) {
	if len(b) < superLen || le.Uint16(b[0x38:]) != superMagic {
		return superblock{}, guest.ErrNotMine
	}
	sb := superblock{
		inodes: le.Uint32(b), blocks: uint64(le.Uint32(b[4:])), freeBlocks: uint64(le.Uint32(b[0xc:])), firstBlock: le.Uint32(b[0x14:]),
		blocksPerGroup: le.Uint32(b[0x20:]), clustersPerGroup: le.Uint32(b[0x24:]), inodesPerGroup: le.Uint32(b[0x28:]),
		state: le.Uint16(b[0x3a:]), firstInode: 11, inodeSize: goodInodeSize, descSize: 32,
		uuid: [16]byte(b[0x68:]), label: string(bytes.TrimRight(b[0x78:0x88], "\x00")),
	}
	if le.Uint32(b[0x4c:]) > 0 { // a revision with features
		sb.firstInode, sb.inodeSize = le.Uint32(b[0x54:]), uint32(le.Uint16(b[0x58:]))
		sb.compat, sb.incompat, sb.ro = le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	}
	if unknown := sb.incompat &^ readableIncompat; unknown != 0 {
		return sb, fmt.Errorf("ext4 with features %s: %w", nameFeatures(unknown), guest.ErrUnsupported)
	}
	if sb.ro&roMetadataCsum != 0 && crc32c(^uint32(0), b[:0x3fc]) != le.Uint32(b[0x3fc:]) {
		return sb, guest.Corrupt("ext4 superblock: its checksum is wrong")
	}
	sb.parseLater(b)
	return sb, sb.derive(le.Uint32(b[0x18:]), le.Uint32(b[0x1c:]), size)
}

// parseLater reads what came with features.
func (sb *superblock) parseLater(b []byte) {
	sb.reservedDescs = uint32(le.Uint16(b[0xce:]))
	sb.journalInode, sb.journalDevice = le.Uint32(b[0xe0:]), le.Uint32(b[0xe4:])
	for i := range sb.hashSeed {
		sb.hashSeed[i] = le.Uint32(b[0xec+4*i:])
	}
	sb.hashUnsigned = le.Uint32(b[0x160:])&hashUnsigned != 0
	sb.firstMetaGroup = le.Uint32(b[0x104:])
	sb.backupGroups = [2]uint32{le.Uint32(b[0x24c:]), le.Uint32(b[0x250:])}
	if sb.has64Bit() {
		sb.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		sb.freeBlocks |= uint64(le.Uint32(b[0x158:])) << 32
		sb.descSize = uint32(le.Uint16(b[0xfe:]))
	}
	sb.seed = crc32c(^uint32(0), sb.uuid[:])
	if sb.incompat&incompatCsumSeed != 0 {
		sb.seed = le.Uint32(b[0x270:])
	}
}

// derive checks the geometry against itself and against the volume, and works
// out the rest: each later bound rests on these.
func (sb *superblock) derive(logBlock, logCluster uint32, size int64) error {
	if logBlock > 6 || logCluster > 20 {
		return guest.Corrupt("ext4 superblock: blocks of 2^%d bytes, clusters of 2^%d", logBlock+10, logCluster+10)
	}
	sb.blockSize = 1024 << logBlock
	if sb.ro&roBigalloc != 0 {
		if logCluster < logBlock {
			return guest.Corrupt("ext4 superblock: clusters of 2^%d bytes, smaller than a block", logCluster+10)
		}
		sb.clusterBits = logCluster - logBlock
	} else {
		sb.clustersPerGroup = sb.blocksPerGroup
	}
	if sb.inodeSize < goodInodeSize || sb.inodeSize > sb.blockSize || sb.inodeSize&(sb.inodeSize-1) != 0 {
		return guest.Corrupt("ext4 superblock: inodes of %d bytes", sb.inodeSize)
	}
	if sb.descSize < 32 || sb.descSize > 1024 || sb.descSize&(sb.descSize-1) != 0 || sb.has64Bit() && sb.descSize < 64 {
		return guest.Corrupt("ext4 superblock: group descriptors of %d bytes", sb.descSize)
	}
	// A bitmap is one block (Block and Inode Allocation Policy).
	perBitmap := sb.blockSize * 8
	if sb.clustersPerGroup == 0 || sb.clustersPerGroup > perBitmap || sb.inodesPerGroup == 0 || sb.inodesPerGroup > perBitmap ||
		uint64(sb.blocksPerGroup) != uint64(sb.clustersPerGroup)<<sb.clusterBits {
		return guest.Corrupt("ext4 superblock: groups of %d blocks, %d clusters, %d inodes", sb.blocksPerGroup, sb.clustersPerGroup, sb.inodesPerGroup)
	}
	if sb.firstBlock > 1 || sb.blocks <= uint64(sb.firstBlock) {
		return guest.Corrupt("ext4 superblock: %d blocks from block %d on", sb.blocks, sb.firstBlock)
	}
	if sb.blocks > uint64(size)/uint64(sb.blockSize) {
		return guest.Corrupt("ext4 superblock: %d blocks of %d bytes in a volume of %d bytes; is the volume cut off?", sb.blocks, sb.blockSize, size)
	}
	groups := (sb.blocks - uint64(sb.firstBlock) + uint64(sb.blocksPerGroup) - 1) / uint64(sb.blocksPerGroup)
	if groups > 1<<31 || groups*uint64(sb.inodesPerGroup) != uint64(sb.inodes) || sb.inodes < 10 ||
		uint64(sb.inodes)*uint64(sb.inodeSize) > sb.blocks*uint64(sb.blockSize) {
		return guest.Corrupt("ext4 superblock: %d inodes of %d bytes in %d groups of %d", sb.inodes, sb.inodeSize, groups, sb.inodesPerGroup)
	}
	sb.groups = uint32(groups)
	return nil
}

func (sb *superblock) has64Bit() bool { return sb.incompat&incompat64Bit != 0 }

// metadataCsum says that structures carry checksums.
func (sb *superblock) metadataCsum() bool { return sb.ro&roMetadataCsum != 0 }

// descCsum says that group descriptors carry checksums, so that their flags
// mean something.
func (sb *superblock) descCsum() bool { return sb.ro&(roMetadataCsum|roGdtCsum) != 0 }

// kind names the generation of the format, as mount -t does.
func (sb *superblock) kind() string {
	const later = incompatExtents | incompat64Bit | incompatFlexBG | incompatMMP | incompatEAInode | incompatCsumSeed |
		incompatLargeDir | incompatInlineData | incompatEncrypt | incompatCasefold
	switch {
	case sb.incompat&later != 0 || sb.ro&^0x7 != 0:
		return "ext4"
	case sb.compat&compatHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}
