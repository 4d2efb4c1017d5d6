package cache

import (
	"math/bits"
	"sync"
	"sync/atomic"

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

const (
	poisonByte = 0xDB
	pageSize   = 4096 // the least that kernels give
)

// buffer is memory of one size class.
type buffer struct {
	class int
	mem   []byte // len is the class's size
}

// buffers recycles buffers by size class. While the cache fills, most are new, and the
// kernel gives new memory page by page when it is first written to, for which a reader
// would wait. So there is a spare of each class that ran out, with its memory there.
type buffers struct {
	free   [len(sizes)]sync.Pool
	spare  [len(sizes)]atomic.Pointer[buffer]
	out    atomic.Uint32 // a bit for each class whose spare is to be made
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
	b.out.Or(1 << class)
	if buf := b.spare[class].Swap(nil); buf != nil {
		return buf
	}
	return newBuffer(class)
}

func newBuffer(class int) *buffer { return &buffer{class: class, mem: make([]byte, sizes[class])} }

// refill makes the spares that were used.
func (b *buffers) refill() {
	for left := b.out.Swap(0); left != 0; left &= left - 1 {
		class := bits.TrailingZeros32(left)
		if b.spare[class].Load() != nil {
			continue
		}
		buf := newBuffer(class)
		for i := 0; i < len(buf.mem); i += pageSize {
			buf.mem[i] = 0
		}
		b.spare[class].Store(buf)
	}
}

func (b *buffers) put(buf *buffer) {
	if b.poison {
		for i := range buf.mem {
			buf.mem[i] = poisonByte
		}
	}
	b.free[buf.class].Put(buf)
}
