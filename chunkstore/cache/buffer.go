package cache

import (
	"sync"

	"holdfast/chunkstore/pack"
)

// sizes are the buffers' capacities: sizes of Go's own allocator, so that what
// is charged is what is taken. The guest's chunks are mostly whole 4 KiB
// blocks, so there is one for each count of blocks while they are small.
var sizes = [...]int{
	1152, 2304, 4864, 9472, 13568, 18432, 21760, 27264, 32768,
	40 << 10, 48 << 10, 56 << 10, 64 << 10, 72 << 10,
}

// overhead is what a chunk costs besides its buffer: the struct, its channel
// and its place in the shard's map.
const overhead = 448

const poisonByte = 0xDB

// buffer is memory of one size class.
type buffer struct {
	class int
	mem   []byte // len is the class's size
}

// buffers recycles buffers by size class.
type buffers struct {
	free   [len(sizes)]sync.Pool
	poison bool
}

// classOf returns the smallest class for n plain bytes, 1 to MaxChunk, and the
// decoder's slack.
func classOf(n int) int {
	lo, hi := 0, len(sizes)-1
	for lo < hi {
		mid := (lo + hi) / 2
		if sizes[mid] >= n+pack.Slack {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// chargeOf returns what a chunk of n plain bytes is charged with.
func chargeOf(n int) int64 { return int64(sizes[classOf(n)] + overhead) }

func (b *buffers) get(n int) *buffer {
	class := classOf(n)
	if buf, ok := b.free[class].Get().(*buffer); ok {
		return buf
	}
	return &buffer{class: class, mem: make([]byte, sizes[class])}
}

func (b *buffers) put(buf *buffer) {
	if b.poison {
		for i := range buf.mem {
			buf.mem[i] = poisonByte
		}
	}
	b.free[buf.class].Put(buf)
}
