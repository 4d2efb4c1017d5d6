package cache

import (
	"context"
	"fmt"
	"sync/atomic"

	"holdfast/chunkstore/pack"
)

// Chunk is a decoded chunk that the caller holds: its bytes stay where they
// are until the last holder's Release.
type Chunk struct {
	id     pack.ID // of its key, which may change before done
	cache  *Cache
	home   *shard
	refs   atomic.Int32  // holders, and one for the shard while it knows the chunk
	done   chan struct{} // closed when plain or err is set
	plain  []byte        // in buf
	from   int           // where in the chunk plain begins
	whole  bool          // plain is all of the chunk
	buf    *buffer
	length int // plain length of the chunk that the first to ask gave
	err    error

	// Guarded by home.mu, but for prev, next and in, which pool.mu guards
	// until a worker takes the chunk.
	prev, next *Chunk
	in         *list
	key        key
	want       int   // plain bytes to load: sizes the buffer
	charge     int64 // bytes reserved; 0 before the load starts
	ahead      bool  // prefetched, and nobody asked for it yet
	hot        bool  // asked for since the clock's hand last passed
	hurt       bool  // it did not come the quick way: a worker asks Get
}

func newChunk(c *Cache, s *shard, k key, plainLen int) *Chunk {
	ch := &Chunk{id: k.id, key: k, cache: c, home: s, length: plainLen, done: make(chan struct{})}
	p := c.partOf(k, plainLen)
	ch.want = p.To - p.From
	ch.refs.Store(1)
	return ch
}

// failed returns a chunk that no shard knows and that fails every Wait.
func failed(k key, err error) *Chunk {
	ch := &Chunk{id: k.id, key: k, err: err, done: make(chan struct{})}
	ch.refs.Store(1)
	close(ch.done)
	return ch
}

// Wait waits until the chunk is there and checks that it is plainLen bytes
// long. When ctx ends first, its error is returned and the load goes on. Where
// fewer loads run than there are workers, the caller does the work itself.
func (ch *Chunk) Wait(ctx context.Context, plainLen int) error {
	if !ch.there() {
		ch.help(ctx)
		select {
		case <-ch.done:
		default:
			select {
			case <-ch.done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if ch.err != nil {
		return ch.err
	}
	is := ch.length
	if ch.whole {
		is = len(ch.plain)
	}
	if is != plainLen {
		return fmt.Errorf("chunk %v is %d bytes long, but its map says %d", ch.id, is, plainLen)
	}
	return nil
}

// there reports whether the load is over.
func (ch *Chunk) there() bool {
	select {
	case <-ch.done:
		return true
	default:
		return false
	}
}

// Bytes returns the plain bytes of a whole chunk, valid until Release and never
// to be changed.
func (ch *Chunk) Bytes() []byte { return ch.plain }

// Slice is Bytes()[from:to] for what may be a part, which must hold them.
func (ch *Chunk) Slice(from, to int) []byte { return ch.plain[from-ch.from : to-ch.from] }

// Release gives the chunk back, once for each Acquire or Begin.
func (ch *Chunk) Release() {
	switch n := ch.refs.Add(-1); {
	case n == 0:
		ch.free()
	case n < 0:
		panic("chunk released more often than acquired")
	case n == 1 && ch.home != nil:
		if ch.home.over.Load() {
			ch.home.trim()
		}
		if !ch.there() {
			ch.cache.pool.kick() // nobody waits for it: a worker takes it out of the queue
		}
	}
}

// Pass is Release for who reads a stream and has come to the chunk's end: nobody
// is known to want it again, so it is among the first to be given up.
func (ch *Chunk) Pass() {
	if ch.home != nil {
		ch.home.pass(ch)
	}
	ch.Release()
}

// free recycles the buffer of a chunk that nobody holds.
func (ch *Chunk) free() {
	if ch.buf != nil {
		ch.cache.buffers.put(ch.buf)
		ch.buf, ch.plain = nil, nil
	}
}
