package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"holdfast/chunkstore/pack"
)

const (
	defaultBytes = 256 << 20
	maxShards    = 16
	minShard     = 1 << 20 // bytes of budget below which a shard is not worth it
	maxAhead     = 512     // prefetches that wait for a worker
)

// ErrClosed says that the cache loads no more chunks.
var ErrClosed = errors.New("chunk cache is closed")

// errAbandoned ends a load that nobody waited for; nobody sees it.
var errAbandoned = errors.New("load abandoned")

// errBug ends a load whose caller panicked.
var errBug = errors.New("the load was ended by a bug")

// Getter brings a chunk's plain bytes, proved against its id. It uses buf's
// capacity when that suffices and allocates otherwise; the result is the
// caller's. A chunkstore.Getter is one. Safe for concurrent use.
type Getter interface {
	Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error)
}

// PartGetter is a Getter that can bring a part of a chunk. A chunkstore.PartGetter
// is one. An error of it is no verdict: Get is asked then.
type PartGetter interface {
	Getter
	GetPart(ctx context.Context, id pack.ID, buf []byte, p pack.Part) (plain []byte, whole bool, err error)
}

// Options bound a cache. The zero value works.
type Options struct {
	Bytes    int64 // for all; 0: 256 MiB
	Prefetch int64 // of them, at most, for prefetched chunks that nobody asked for yet; 0: Bytes/8
	Workers  int   // chunks loaded at a time; 0: one a core
	// Part is the plain bytes that the store decodes alone, a power of two from
	// 4096 to below pack.MaxChunk. Otherwise, and where the Getter is no
	// PartGetter, there are no parts.
	Part int
	// Poison overwrites each buffer that is given back, so that tests see
	// who uses a chunk after its release. It costs time.
	Poison bool
}

func (o *Options) fill() error {
	if o.Bytes == 0 {
		o.Bytes = defaultBytes
	}
	if o.Prefetch == 0 {
		o.Prefetch = o.Bytes / 8
	}
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	if o.Bytes < 0 || o.Prefetch < 0 || o.Workers < 0 {
		return fmt.Errorf("open chunk cache: %d bytes, %d to prefetch, %d workers: want none below zero", o.Bytes, o.Prefetch, o.Workers)
	}
	return nil
}

// Cache holds decoded chunks of one store by id. It is safe for concurrent use.
type Cache struct {
	get     Getter
	parts   PartGetter // get, or nil
	part    int        // bytes of a part; 0: none
	buffers buffers
	shards  []shard // a power of two of them
	pool    pool
	ctx     context.Context // of every load; ends with Close
	stop    context.CancelFunc
	workers sync.WaitGroup
}

// New returns a cache over get and starts its workers; Close stops them.
func New(get Getter, opt Options) (*Cache, error) {
	if err := opt.fill(); err != nil {
		return nil, err
	}
	c := &Cache{get: get, buffers: buffers{poison: opt.Poison}}
	if p, ok := get.(PartGetter); ok {
		c.parts, c.part = p, opt.partSize()
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	n := shardCount(opt)
	c.shards = make([]shard, n)
	c.buffers.limit = opt.Bytes / idleShare
	for i := range c.shards {
		c.shards[i].init((opt.Bytes-c.buffers.limit)/int64(n), opt.Prefetch/int64(n))
	}
	c.pool.init(opt.Workers, c.parts != nil)
	for range opt.Workers {
		c.workers.Go(c.work)
	}
	return c, nil
}

// partSize returns Part where it makes sense.
func (o *Options) partSize() int {
	if o.Part < minPart || o.Part >= pack.MaxChunk || o.Part&(o.Part-1) != 0 {
		return 0
	}
	return o.Part
}

func shardCount(opt Options) int {
	n := 1
	for n < maxShards && min(opt.Bytes, opt.Prefetch)/int64(2*n) >= minShard {
		n *= 2
	}
	return n
}

// Close stops the workers and waits for the loads that are under way: theirs,
// whose context ends, and those that callers do themselves, which obey the
// callers' contexts. The Getter is not asked any more then. Loads not started fail
// with ErrClosed; chunks already held stay valid.
func (c *Cache) Close() {
	c.stop()
	for _, ch := range c.pool.close() {
		ch.home.fail(ch, ErrClosed)
	}
	c.workers.Wait()
	c.pool.settle()
}

// home returns the shard of id. Ids are hashes, so any of their bits do.
func (c *Cache) home(id pack.ID) *shard {
	return &c.shards[int(id[0])&(len(c.shards)-1)]
}

// Acquire returns chunk id, whose plain bytes are plainLen long, loading it if
// need be. The caller must Release it. The error is ctx's, or the Getter's
// (also when another caller's wish started the load), or says that the chunk
// has another length than the map that named it claims.
func (c *Cache) Acquire(ctx context.Context, id pack.ID, plainLen int) (*Chunk, error) {
	ch := c.Begin(id, plainLen)
	if err := ch.Wait(ctx, plainLen); err != nil {
		ch.Release()
		return nil, err
	}
	return ch, nil
}

// Begin asks for a chunk without waiting for it: several begun together are
// loaded in parallel. The caller must Wait before it looks at the bytes, and
// Release the chunk in any case, also when Wait failed.
func (c *Cache) Begin(id pack.ID, plainLen int) *Chunk {
	return c.begin(key{id: id}, plainLen)
}

func (c *Cache) begin(k key, plainLen int) *Chunk {
	if plainLen < 1 || plainLen > pack.MaxChunk {
		return failed(k, fmt.Errorf("chunk %v: length %d: want 1 to %d", k.id, plainLen, pack.MaxChunk))
	}
	s := c.home(k.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.find(k); ch != nil {
		ch.refs.Add(1)
		s.touch(ch, &c.pool)
		return ch
	}
	ch := newChunk(c, s, k, plainLen)
	if !c.pool.push(ch, &c.pool.demand) {
		return failed(k, fmt.Errorf("chunk %v: %w", k.id, ErrClosed))
	}
	ch.refs.Add(1)
	s.add(ch)
	s.count.Misses++
	return ch
}

// Ready does what the next loads would have to do first, which is to get memory. It is
// for who has just answered a reader, and takes some 10 µs where there is anything to
// do.
func (c *Cache) Ready() { c.buffers.refill() }

// Want names a chunk to prefetch and its plain length.
type Want struct {
	ID  pack.ID
	Len int
}

// Prefetch asks for chunks that will probably be wanted soon, in that order,
// and never waits: what is there already, or does not fit the queue, is left
// out. It returns how many it took.
func (c *Cache) Prefetch(wants ...Want) int {
	taken := 0
	for _, w := range wants {
		if w.Len >= 1 && w.Len <= pack.MaxChunk && c.prefetch(w) {
			taken++
		}
	}
	return taken
}

func (c *Cache) prefetch(w Want) bool {
	s := c.home(w.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{id: w.ID}
	if s.chunks[k] != nil {
		return false
	}
	ch := newChunk(c, s, k, w.Len)
	ch.ahead = true
	if !c.pool.push(ch, &c.pool.ahead) {
		s.count.PrefetchDropped++
		return false
	}
	s.add(ch)
	s.count.Prefetched++
	return true
}
