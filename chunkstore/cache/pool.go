package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"holdfast/chunkstore/pack"
)

// pool is the queue before the workers: what somebody waits for goes before
// what is prefetched. Its mutex is taken inside a shard's, never around it.
//
// Who waits for a chunk that is still queued loads it himself while fewer loads
// run than there are workers: handing it to another goroutine and back costs
// more than many a load. So a single chunk wakes nobody; whoever ends a load
// wakes a worker when something is left.
type pool struct {
	mu      sync.Mutex
	wake    sync.Cond
	demand  list // bounded by the callers, who hold its chunks
	ahead   list // at most maxAhead
	most    int  // loads at a time
	running int
	helped  bool // waiters may load
	closed  bool
}

func (p *pool) init(most int, helped bool) { p.wake.L, p.most, p.helped = &p.mu, most, helped }

// push queues ch and reports whether it was taken: not when the pool is closed
// or the prefetch queue is full.
func (p *pool) push(ch *Chunk, to *list) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || to == &p.ahead && to.n >= maxAhead {
		return false
	}
	if !p.helped || ch.hurt || to == &p.ahead || to.n > 0 {
		p.wake.Signal()
	}
	to.pushBack(ch)
	return true
}

// take takes ch out of the queue for who waits for it, if it is there and one
// more load may run. The caller calls leave when it is over.
func (p *pool) take(ch *Chunk) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.running >= p.most || ch.in != &p.demand && ch.in != &p.ahead {
		return false
	}
	ch.in.remove(ch)
	p.running++
	return true
}

// leave ends a load.
func (p *pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	switch {
	case p.closed:
		p.wake.Broadcast() // settle may wait
	case p.demand.n+p.ahead.n > 0:
		p.wake.Signal()
	}
}

// settle waits until no load runs. The pool is closed.
func (p *pool) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running > 0 {
		p.wake.Wait()
	}
}

// kick wakes a worker for a chunk that was queued silently.
func (p *pool) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake.Signal()
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

// next returns the next chunk to load, or nil when the pool is closed. The
// caller calls leave when it is over.
func (p *pool) next() *Chunk {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return nil
		case p.running >= p.most:
		case p.demand.n > 0:
			p.running++
			return p.pop(&p.demand)
		case p.ahead.n > 0:
			p.running++
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
		c.pool.leave()
		// A worker that never blocks starves the goroutines that answer:
		// measured p99 x2 to x4 without this.
		runtime.Gosched()
	}
}

// load brings one chunk or part with no lock held. A whole chunk comes to a worker
// because others are wanted at the same time, or soon.
func (c *Cache) load(ch *Chunk) {
	buf := c.buffers.get(ch.want)
	if c.parts != nil && !ch.hurt {
		p := c.partOf(ch.key, ch.length)
		p.Along = ch.key.part == 0
		if plain, whole, err := c.quick(c.ctx, ch, p, buf); err == nil {
			c.finish(ch, buf, plain, whole)
			return
		}
	}
	plain, err := c.get.Get(c.ctx, ch.id, buf.mem[:0])
	if err == nil {
		err = checkLength(plain)
	}
	if err != nil {
		c.buffers.put(buf)
		ch.home.fail(ch, c.explain(ch.id, err))
		return
	}
	c.finish(ch, buf, plain, true)
}

// help loads ch for a caller who waits for it, if no worker has begun and one
// more load may run. What does not come at once, undamaged and before the caller
// goes away, is left to a worker.
func (ch *Chunk) help(ctx context.Context) {
	c := ch.cache
	if c == nil || c.parts == nil || ctx.Err() != nil || !ch.home.take(ch, &c.pool) {
		return
	}
	back := false
	defer func() {
		// A bug ends one request and not the process, so it must not leave a
		// chunk behind that nobody loads: later readers would wait for ever.
		if !back {
			ch.home.fail(ch, c.explain(ch.id, errBug))
		}
		c.pool.leave()
	}()
	buf := c.buffers.get(ch.want)
	plain, whole, err := c.quick(ctx, ch, c.partOf(ch.key, ch.length), buf)
	back = true
	if err == nil {
		c.finish(ch, buf, plain, whole)
		return
	}
	c.buffers.put(buf)
	if !ch.home.putBack(ch, &c.pool) {
		ch.home.fail(ch, c.explain(ch.id, ErrClosed))
	}
}

// quick brings what ch wants, which is p, into buf, if the store gives it without ado.
func (c *Cache) quick(ctx context.Context, ch *Chunk, p pack.Part, buf *buffer) (plain []byte, whole bool, err error) {
	plain, whole, err = c.parts.GetPart(ctx, ch.id, buf.mem[:0], p)
	switch {
	case err != nil:
		return nil, false, err
	case whole:
		return plain, true, checkLength(plain)
	case ch.key.part == 0 || len(plain) != p.To-p.From:
		return nil, false, fmt.Errorf("%d bytes of [%d, %d)", len(plain), p.From, p.To)
	}
	return plain, false, nil
}

func checkLength(plain []byte) error {
	if len(plain) == 0 || len(plain) > pack.MaxChunk {
		return fmt.Errorf("%d bytes long: want 1 to %d", len(plain), pack.MaxChunk)
	}
	return nil
}

// finish publishes what was loaded, wherever it lies.
func (c *Cache) finish(ch *Chunk, buf *buffer, plain []byte, whole bool) {
	if &plain[0] != &buf.mem[0] {
		buf = c.settle(buf, plain)
	}
	ch.home.finish(ch, buf, len(plain), whole)
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
