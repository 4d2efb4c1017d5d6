// Package blockcache keeps the metadata blocks that a filesystem reader has
// used most recently, bounded in bytes.
package blockcache

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// Cache maps numbers to blocks. Its zero value keeps nothing; New sets the
// bound. Safe for concurrent use.
type Cache struct {
	maxBytes int

	mu    sync.Mutex // guards what follows
	bytes int        // of loaded blocks
	slots map[int64]*list.Element
	order list.List // of *slot, the most recently used first
}

// slot is one block. data and err are written before ready is closed.
type slot struct {
	number int64
	ready  chan struct{}
	data   []byte
	err    error
}

// New makes a cache of at most maxBytes, beside the block that is in use.
func New(maxBytes int) *Cache {
	return &Cache{maxBytes: maxBytes, slots: map[int64]*list.Element{}}
}

// Get gives the block of that number, calling load if it is not there. Callers
// that want the same block wait for one load of it, as long as their own
// context allows; when that load ended with its caller's context, one of those
// that wait loads anew. An error is not kept. The block is shared: nobody may
// write to it.
func (c *Cache) Get(ctx context.Context, number int64, load func() ([]byte, error)) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, mine := c.slot(number)
		if mine {
			return c.load(s, load)
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !errors.Is(s.err, context.Canceled) && !errors.Is(s.err, context.DeadlineExceeded) {
			return s.data, s.err
		}
	}
}

// slot finds the slot of a number, or makes one that the caller must load.
func (c *Cache) slot(number int64) (s *slot, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.slots[number]; ok {
		c.order.MoveToFront(el)
		return el.Value.(*slot), false
	}
	s = &slot{number: number, ready: make(chan struct{})}
	if c.slots == nil {
		c.slots = map[int64]*list.Element{}
	}
	c.slots[number] = c.order.PushFront(s)
	return s, true
}

// load fills a slot. Should load panic, those that wait get an error.
func (c *Cache) load(s *slot, load func() ([]byte, error)) ([]byte, error) {
	data, err := []byte(nil), errors.New("the load of a block was broken off")
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.data, s.err = data, err
		close(s.ready)
		if err != nil {
			c.drop(c.slots[s.number])
			return
		}
		c.bytes += len(data)
		c.shrink()
	}()
	data, err = load()
	return data, err
}

// shrink drops the oldest blocks that are loaded.
func (c *Cache) shrink() {
	for el := c.order.Back(); el != nil && c.bytes > c.maxBytes; {
		s, prev := el.Value.(*slot), el.Prev()
		select {
		case <-s.ready:
			c.bytes -= len(s.data)
			c.drop(el)
		default: // still loading: it counts for nothing yet
		}
		el = prev
	}
}

func (c *Cache) drop(el *list.Element) {
	c.order.Remove(el)
	delete(c.slots, el.Value.(*slot).number)
}
