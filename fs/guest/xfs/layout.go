package xfs

import "holdfast/fs/guest"

// Where things lie: arithmetic only. A block's number has its AG in the bits
// above groupLog, and an inode's number in those above groupLog + inodesLog
// (Inode Numbers); places in the log are in sectors of 512 bytes, counted
// through all AGs.

// groupLen is the number of blocks in an AG; the last may be short.
func (sb *superblock) groupLen(group uint32) uint32 {
	if group == sb.groups-1 {
		return uint32(sb.blocks - uint64(group)*uint64(sb.groupBlocks))
	}
	return sb.groupBlocks
}

// groupStart is an AG's place in the volume, in bytes.
func (sb *superblock) groupStart(group uint32) int64 {
	return int64(uint64(group)*uint64(sb.groupBlocks)) << sb.blockLog
}

// place gives the place in the volume, in bytes, of count blocks, which must
// lie in one AG.
func (sb *superblock) place(block, count uint64) (int64, error) {
	group, within := block>>sb.groupLog, block&(1<<sb.groupLog-1)
	if group >= uint64(sb.groups) {
		return 0, guest.Corrupt("xfs: block %#x in AG %d of %d", block, group, sb.groups)
	}
	length := uint64(sb.groupLen(uint32(group)))
	if within >= length || count > length-within {
		return 0, guest.Corrupt("xfs: %d blocks at %d of AG %d, which has %d", count, within, group, length)
	}
	return sb.groupStart(uint32(group)) + int64(within)<<sb.blockLog, nil
}

// inodePlace gives the place of an inode in the volume, in bytes.
func (sb *superblock) inodePlace(number uint64) (int64, error) {
	off, err := sb.place(number>>sb.inodesLog, 1)
	if err != nil {
		return 0, guest.Corrupt("xfs: no place for inode %d", number)
	}
	return off + int64(number&(1<<sb.inodesLog-1))*sb.inodeSize, nil
}

// dirBlocks is the number of blocks in a directory block.
func (sb *superblock) dirBlocks() uint64 { return 1 << sb.dirLog }

// dirBytes is the length of a directory block.
func (sb *superblock) dirBytes() int64 { return sb.blockSize << sb.dirLog }

// maxFileBlock is the first block that no file can have: 2^54 of them, or
// 2^63 bytes.
func (sb *superblock) maxFileBlock() uint64 { return 1 << min(54, 63-sb.blockLog) }

// clusterBlocks is the number of blocks in a buffer of inodes, as the kernel
// has it (xfs_ialloc_setup_geometry).
func (sb *superblock) clusterBlocks() uint32 {
	bytes := int64(8192)
	if sb.v5 {
		larger := bytes * sb.inodeSize / minInodeSize
		if int64(sb.inodeAlign) >= larger>>sb.blockLog {
			bytes = larger
		}
	}
	return uint32(max(bytes>>sb.blockLog, 1))
}
