package cache

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"holdfast/chunkstore/pack"
)

// pool is the queue before the workers: what somebody waits for goes before
// what is prefetched. Its mutex is taken inside a shard's, never around it.
type pool struct {
	mu     sync.Mutex
	wake   sync.Cond
	demand list // bounded by the callers, who hold its chunks
	ahead  list // at most maxAhead
	closed bool
}

func (p *pool) init() { p.wake.L = &p.mu }

// push queues ch and reports whether it was taken: not when the pool is closed
// or the prefetch queue is full.
func (p *pool) push(ch *Chunk, to *list) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || to == &p.ahead && to.n >= maxAhead {
		return false
	}
	to.pushBack(ch)
	p.wake.Signal()
	return true
}

// promote moves a prefetch that still waits to those somebody waits for.
func (p *pool) promote(ch *Chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch.in == &p.ahead {
		p.ahead.remove(ch)
		p.demand.pushBack(ch)
	}
}

// next returns the next chunk to load, or nil when the pool is closed.
func (p *pool) next() *Chunk {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return nil
		case p.demand.n > 0:
			return p.pop(&p.demand)
		case p.ahead.n > 0:
			return p.pop(&p.ahead)
		}
		p.wake.Wait()
	}
}

func (p *pool) pop(l *list) *Chunk {
	ch := l.front
	l.remove(ch)
	return ch
}

// close ends the workers' loops and returns what they did not get to.
func (p *pool) close() (left []*Chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wake.Broadcast()
	for _, l := range []*list{&p.demand, &p.ahead} {
		for l.n > 0 {
			left = append(left, p.pop(l))
		}
	}
	return left
}

func (c *Cache) work() {
	for {
		ch := c.pool.next()
		if ch == nil {
			return
		}
		if ch.home.start(ch) {
			c.load(ch)
		}
		// A worker that never blocks starves the goroutines that answer:
		// measured p99 x2 to x4 without this.
		runtime.Gosched()
	}
}

// load brings one chunk with no lock held.
func (c *Cache) load(ch *Chunk) {
	buf := c.buffers.get(ch.want)
	plain, err := c.get.Get(c.ctx, ch.id, buf.mem[:0])
	if err == nil && (len(plain) == 0 || len(plain) > pack.MaxChunk) {
		err = fmt.Errorf("%d bytes long: want 1 to %d", len(plain), pack.MaxChunk)
	}
	if err != nil {
		c.buffers.put(buf)
		ch.home.fail(ch, c.explain(ch.id, err))
		return
	}
	if &plain[0] != &buf.mem[0] {
		buf = c.settle(buf, plain)
	}
	ch.home.finish(ch, buf, len(plain))
}

// explain makes the error of a load say which chunk, if it does not by itself.
func (c *Cache) explain(id pack.ID, err error) error {
	if c.ctx.Err() != nil {
		err = ErrClosed // and not a "context canceled" that is none of the waiters'
	}
	if _, ok := errors.AsType[*pack.Damage](err); ok {
		return err
	}
	return fmt.Errorf("chunk %v: %w", id, err)
}

// settle brings plain bytes that the getter put elsewhere (the map that named
// the chunk had its length wrong) into a buffer of their class.
func (c *Cache) settle(buf *buffer, plain []byte) *buffer {
	if class := classOf(len(plain)); class != buf.class {
		c.buffers.put(buf)
		buf = c.buffers.get(len(plain))
	}
	copy(buf.mem, plain)
	return buf
}
