package capture

import (
	"holdfast/chunkstore/pack"
)

// Cutter says where a region is cut into chunks. Cuts depend on nothing
// but the disk's content, so that the same disk gives the same chunks on any
// machine.
type Cutter interface {
	// Name is remembered in the version.
	Name() string
	// Cut appends to buf the ends of the cells of region n, which is length
	// bytes long: ascending, the last one length, none more than MaxChunk
	// from the one before. Safe for concurrent use.
	Cut(buf []int, n int64, length int) []int
}

// Grid cuts at multiples of MaxChunk from the disk's start.
type Grid struct{}

// Name implements Cutter.
func (Grid) Name() string { return "grid" }

// Cut implements Cutter. A region is a multiple of MaxChunk.
func (Grid) Cut(buf []int, _ int64, length int) []int {
	for end := pack.MaxChunk; end < length; end += pack.MaxChunk {
		buf = append(buf, end)
	}
	return append(buf, length)
}

// zeroBlock is the granularity in which zeros at a cell's edges become holes.
const zeroBlock = 4 << 10

// trimZeros narrows the cell [from, to) of a region to what is not zeros, in
// whole blocks counted from the cell's start: a file's cell becomes the same
// chunk wherever it lies. An empty range is all zeros.
func trimZeros(region []byte, from, to int) (int, int) {
	for from < to {
		end := min(to, from+zeroBlock)
		if !isZero(region[from:end]) {
			break
		}
		from = end
	}
	for from < to {
		begin := to - 1 - (to-from-1)%zeroBlock
		if !isZero(region[begin:to]) {
			break
		}
		to = begin
	}
	return from, to
}

var zeros [zeroBlock]byte

// isZero reports whether b, at most a block, is all zeros. The comparison runs
// at the speed of memory.
func isZero(b []byte) bool { return string(b) == string(zeros[:len(b)]) }
