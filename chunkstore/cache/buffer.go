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

// idleShare is the part of the cache's bytes that buffers between two chunks may take.
// What streams went past comes back where a disk goes on with chunks of other sizes, a
// few sizes after each other (measured: with a 64th a stream takes 7 % more CPU time).
const idleShare = 8

// buffers recycles buffers by size class, the last one first. What waits for its next
// chunk is bounded and part of the cache's bytes; the collector gets the rest. While the
// cache fills, most are new, and the kernel gives new memory page by page when it is
// first written to, for which a reader would wait. So refill makes one of each class that
// ran out, with its memory there.
type buffers struct {
	mu     sync.Mutex // guards what follows
	free   [len(sizes)][]*buffer
	idle   int64 // bytes of free
	limit  int64 // of idle
	poison bool

	out atomic.Uint32 // a bit for each class of which one is to be made
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
	if buf := b.take(class); buf != nil {
		return buf
	}
	return newBuffer(class)
}

// take returns a buffer that waits, or nil.
func (b *buffers) take(class int) *buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free[class]) == 0 {
		b.out.Or(1 << class)
		return nil
	}
	return b.pop(class)
}

// pop takes the last of the buffers of a class, which has some. b.mu is held.
func (b *buffers) pop(class int) *buffer {
	of := b.free[class]
	last := len(of) - 1
	buf := of[last]
	of[last] = nil
	b.free[class] = of[:last]
	b.idle -= int64(sizes[class])
	return buf
}

func newBuffer(class int) *buffer { return &buffer{class: class, mem: make([]byte, sizes[class])} }

// refill makes one buffer of each class that ran out, where there is room.
func (b *buffers) refill() {
	if b.out.Load() == 0 {
		return
	}
	for out := b.out.Swap(0); out != 0; out &= out - 1 {
		class := bits.TrailingZeros32(out)
		if !b.lacks(class) {
			continue
		}
		buf := newBuffer(class)
		for i := 0; i < len(buf.mem); i += pageSize {
			buf.mem[i] = 0
		}
		b.keep(buf)
	}
}

// lacks reports whether there is no buffer of a class, and room for one.
func (b *buffers) lacks(class int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.free[class]) == 0 && b.idle+int64(sizes[class]) <= b.limit
}

func (b *buffers) put(buf *buffer) {
	if b.poison {
		for i := range buf.mem {
			buf.mem[i] = poisonByte
		}
	}
	b.keep(buf)
}

// keep lets buf wait for its next chunk. Where there is no room, those go of which the
// most is there: what is read now needs others.
func (b *buffers) keep(buf *buffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free[buf.class] = append(b.free[buf.class], buf)
	for b.idle += int64(len(buf.mem)); b.idle > b.limit; {
		b.pop(b.most())
	}
}

// most is the class of which the most bytes wait; some do. b.mu is held.
func (b *buffers) most() (class int) {
	for i := range b.free {
		if len(b.free[i])*sizes[i] > len(b.free[class])*sizes[class] {
			class = i
		}
	}
	return class
}
