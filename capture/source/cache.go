package source

import (
	"container/list"
	"sync"
)

// KeyedCache keeps blocks that were dear to get (tables read, clusters inflated),
// the most recently used ones up to a bound in bytes. Several callers that
// want the same block wait for one load of it. Safe for concurrent use.
type KeyedCache[K comparable] struct {
	maxBytes int64

	mu     sync.Mutex // guards what follows
	bytes  int64
	blocks map[K]*list.Element // of *cached[K], in order
	order  list.List           // most recently used first
}

// Cache is keyed by a byte or block number of one file.
type Cache = KeyedCache[int64]

// NewCache makes a Cache like NewKeyedCache.
func NewCache(maxBytes int64) *Cache { return NewKeyedCache[int64](maxBytes) }

// cached is one block; data and err are written before ready is closed.
type cached[K comparable] struct {
	key   K
	ready chan struct{}
	data  []byte
	err   error

	counted bool // its length is in KeyedCache.bytes; guarded by its mu
}

// NewKeyedCache makes a cache of at most maxBytes, though always at least the one
// block that was loaded last.
func NewKeyedCache[K comparable](maxBytes int64) *KeyedCache[K] {
	return &KeyedCache[K]{maxBytes: maxBytes, blocks: map[K]*list.Element{}}
}

// Get returns the block of key, loading it if need be. The block is shared:
// nobody may write to it. A failed load is not kept.
func (c *KeyedCache[K]) Get(key K, load func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	if el, ok := c.blocks[key]; ok {
		c.order.MoveToFront(el)
		c.mu.Unlock()
		b := el.Value.(*cached[K])
		<-b.ready
		return b.data, b.err
	}
	b := &cached[K]{key: key, ready: make(chan struct{})}
	c.blocks[key] = c.order.PushFront(b)
	c.mu.Unlock()

	b.data, b.err = load()
	close(b.ready)
	c.settle(b)
	return b.data, b.err
}

// settle counts a block after its load and drops what is too much.
func (c *KeyedCache[K]) settle(b *cached[K]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.blocks[b.key]
	if b.err != nil {
		c.order.Remove(el)
		delete(c.blocks, b.key)
		return
	}
	c.bytes += int64(len(b.data))
	b.counted = true
	for el := c.order.Back(); el != nil && c.bytes > c.maxBytes; {
		old, prev := el.Value.(*cached[K]), el.Prev()
		if old != b && old.counted {
			c.order.Remove(el)
			delete(c.blocks, old.key)
			c.bytes -= int64(len(old.data))
		}
		el = prev
	}
}
