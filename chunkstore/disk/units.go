package disk

import (
	"fmt"

	"holdfast/chunkstore/pack"
)

// Sizes in bytes. All are part of the format.
const (
	GrainSize  = 64 << 10  // the finest unit in which allocation is counted
	BlockSize  = 2 << 20   // VHD and VHDX block
	RegionSize = 4 << 20   // what one region map describes
	SpanSize   = 512 << 20 // what a leaf of the disk map describes
	MaxSize    = 64 << 40  // of a disk
)

// MaxExtents is the most extents that a region may have.
const MaxExtents = 1024

const (
	leafEntries = SpanSize / RegionSize
	nodeEntries = 1024
	maxLevel    = 2
	regionGrain = RegionSize / GrainSize // grains of a region: the bits of a bitmap
	lowBlock    = 1<<(BlockSize/GrainSize) - 1
)

// The units' places in a node's sums.
const (
	inGrains = iota
	inBlocks
	inSpans
	units
)

// unitOf returns the place of a unit size in a node's sums.
func unitOf(unit int64) (int, error) {
	switch unit {
	case GrainSize:
		return inGrains, nil
	case BlockSize:
		return inBlocks, nil
	case SpanSize:
		return inSpans, nil
	}
	return 0, fmt.Errorf("unit of %d bytes: a disk map counts %d, %d and %d", unit, GrainSize, BlockSize, SpanSize)
}

// totals counts the allocated grains, blocks and spans of a part of a disk. A
// disk of MaxSize has 2^30 grains.
type totals [units]uint32

func (t totals) plus(u totals) totals {
	return totals{t[0] + u[0], t[1] + u[1], t[2] + u[2]}
}

// entrySpan returns the bytes that one entry of a node at level covers.
func entrySpan(level int) int64 {
	switch level {
	case 0:
		return RegionSize
	case 1:
		return SpanSize
	}
	return SpanSize * nodeEntries
}

// maxEntries returns how many entries a node at level has at most.
func maxEntries(level int) int {
	switch level {
	case 0:
		return leafEntries
	case 1:
		return nodeEntries
	}
	return int(MaxSize / entrySpan(level))
}

// rootLevel returns the lowest level that covers size bytes.
func rootLevel(size int64) int {
	level := 0
	for entrySpan(level)*int64(maxEntries(level)) < size {
		level++
	}
	return level
}

// regionCount returns the number of regions of a disk.
func regionCount(size int64) int64 { return ceilDiv(size, RegionSize) }

// regionLen returns the bytes of region n, which is short at a disk's end.
func regionLen(size, n int64) int { return int(min(RegionSize, size-n*RegionSize)) }

func ceilDiv(a, b int64) int64 { return (a-1)/b + 1 }

// blocksOf returns a bitmap's allocated blocks as bits 0 and 1.
func blocksOf(bitmap uint64) (bits uint32) {
	if bitmap&lowBlock != 0 {
		bits = 1
	}
	if bitmap>>(regionGrain/2) != 0 {
		bits |= 2
	}
	return bits
}

// grainsOf returns the bits of the grains that the bytes [off, off+n) of a
// region touch; n > 0.
func grainsOf(off, n int) uint64 {
	first, last := off/GrainSize, (off+n-1)/GrainSize
	return ^uint64(0) << first & (^uint64(0) >> (regionGrain - 1 - last))
}

// A chunk must hold the largest map of either kind.
const (
	_ = uint(pack.MaxChunk - regionHeaderLen - MaxExtents*extentLen)
	_ = uint(pack.MaxChunk - nodeHeaderLen - nodeEntries*childLen)
)
