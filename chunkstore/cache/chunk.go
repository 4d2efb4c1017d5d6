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
	id    pack.ID
	cache *Cache
	home  *shard
	refs  atomic.Int32  // holders, and one for the shard while it knows the chunk
	done  chan struct{} // closed when plain or err is set
	plain []byte        // in buf
	buf   *buffer
	err   error

	// Guarded by home.mu, but for prev, next and in, which pool.mu guards
	// until a worker takes the chunk.
	prev, next *Chunk
	in         *list
	want       int   // plain length that the first to ask gave: sizes the buffer
	charge     int64 // bytes reserved; 0 before the load starts
	ahead      bool  // prefetched, and nobody asked for it yet
	hot        bool  // asked for since the clock's hand last passed
}

func newChunk(c *Cache, s *shard, id pack.ID, plainLen int) *Chunk {
	ch := &Chunk{id: id, cache: c, home: s, want: plainLen, done: make(chan struct{})}
	ch.refs.Store(1)
	return ch
}

// failed returns a chunk that no shard knows and that fails every Wait.
func failed(id pack.ID, err error) *Chunk {
	ch := &Chunk{id: id, err: err, done: make(chan struct{})}
	ch.refs.Store(1)
	close(ch.done)
	return ch
}

// Wait waits until the chunk is there and checks that it is plainLen bytes
// long. When ctx ends first, its error is returned and the load goes on.
func (ch *Chunk) Wait(ctx context.Context, plainLen int) error {
	select {
	case <-ch.done:
	default:
		select {
		case <-ch.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if ch.err != nil {
		return ch.err
	}
	if len(ch.plain) != plainLen {
		return fmt.Errorf("chunk %v is %d bytes long, but its map says %d", ch.id, len(ch.plain), plainLen)
	}
	return nil
}

// Bytes returns the plain bytes, valid until Release and never to be changed.
func (ch *Chunk) Bytes() []byte { return ch.plain }

// Release gives the chunk back, once for each Acquire or Begin.
func (ch *Chunk) Release() {
	switch n := ch.refs.Add(-1); {
	case n == 0:
		ch.free()
	case n < 0:
		panic("chunk released more often than acquired")
	case n == 1 && ch.home != nil && ch.home.over.Load():
		ch.home.trim()
	}
}

// free recycles the buffer of a chunk that nobody holds.
func (ch *Chunk) free() {
	if ch.buf != nil {
		ch.cache.buffers.put(ch.buf)
		ch.buf, ch.plain = nil, nil
	}
}
