package ext4

// Where a group's parts lie: arithmetic only.

// groupStart is the first block of a group.
func (sb *superblock) groupStart(group uint32) uint64 {
	return uint64(group)*uint64(sb.blocksPerGroup) + uint64(sb.firstBlock)
}

// groupEnd is the block behind a group.
func (sb *superblock) groupEnd(group uint32) uint64 {
	return min(sb.groupStart(group)+uint64(sb.blocksPerGroup), sb.blocks)
}

// hasSuper says that a group begins with a copy of the superblock (Layout,
// sparse_super).
func (sb *superblock) hasSuper(group uint32) bool {
	switch {
	case group == 0:
		return true
	case sb.compat&compatSparseSuper2 != 0:
		return group == sb.backupGroups[0] || group == sb.backupGroups[1]
	case group == 1 || sb.ro&roSparseSuper == 0:
		return true
	}
	return isPower(group, 3) || isPower(group, 5) || isPower(group, 7)
}

func isPower(n, base uint32) bool {
	for n > 1 && n%base == 0 {
		n /= base
	}
	return n == 1
}

// descsPerBlock is the number of group descriptors in a block.
func (sb *superblock) descsPerBlock() uint32 { return sb.blockSize / sb.descSize }

// descPlace is the block of a group's descriptor, and the offset in it (Meta
// Block Groups).
func (sb *superblock) descPlace(group uint32) (block uint64, off uint32) {
	perBlock := sb.descsPerBlock()
	nth, off := group/perBlock, group%perBlock*sb.descSize
	if sb.incompat&incompatMetaBG == 0 || nth < sb.firstMetaGroup {
		// Behind the superblock: block 0, or 1 when a block is 1 KiB.
		return superOffset/uint64(sb.blockSize) + 1 + uint64(nth), off
	}
	first := nth * perBlock
	block = sb.groupStart(first)
	if sb.hasSuper(first) {
		block++
	}
	if sb.blockSize == 1024 && nth == 0 && sb.firstBlock == 0 {
		block++ // bigalloc: the superblock is in block 1, the group begins at 0
	}
	return block, off
}

// descBlocks is the number of blocks that all descriptors need.
func (sb *superblock) descBlocks() uint32 {
	perBlock := sb.descsPerBlock()
	return uint32((uint64(sb.groups) + uint64(perBlock) - 1) / uint64(perBlock))
}

// baseBlocks is the number of blocks at a group's start that hold the
// superblock's copy, descriptors and the reserve for more of them.
func (sb *superblock) baseBlocks(group uint32) uint64 {
	n := uint64(0)
	if sb.hasSuper(group) {
		n = 1
	}
	perBlock := sb.descsPerBlock()
	if sb.incompat&incompatMetaBG == 0 || group/perBlock < sb.firstMetaGroup {
		if n == 0 {
			return 0
		}
		descs := sb.descBlocks()
		if sb.incompat&incompatMetaBG != 0 {
			descs = sb.firstMetaGroup
		}
		return 1 + uint64(descs) + uint64(sb.reservedDescs)
	}
	if in := group % perBlock; in < 2 || in == perBlock-1 {
		n++ // a descriptor block in the first, second and last group
	}
	return n
}

// tableBlocks is the number of blocks of a group's inode table.
func (sb *superblock) tableBlocks() uint64 {
	return (uint64(sb.inodesPerGroup)*uint64(sb.inodeSize) + uint64(sb.blockSize) - 1) / uint64(sb.blockSize)
}
