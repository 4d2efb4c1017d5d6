package disk

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

const (
	defaultMapBytes = 64 << 20
	mapShards       = 16
	mapOverhead     = 320 // of an entry: structs, channel, place in the shard's map
)

// errNotCached says that a look-up which must not wait found nothing.
var errNotCached = errors.New("map not in memory")

// Maps keeps decoded region maps and disk map nodes by id, for all disks and
// versions of a store at once (versions share most of them). It is bounded in
// bytes, with second chance (CLOCK), apart from what is just being loaded (one
// chunk's buffer for each of twice as many loads as there are cores) and from
// the one map, of at most 64 KiB, that each of its 16 shards keeps in any case.
// A map is loaded once however many want it; waiters obey their own contexts,
// and errors are not kept. It is safe for concurrent use.
type Maps struct {
	get    cache.Getter
	room   int64         // bytes
	slots  chan struct{} // loads at a time
	bufs   sync.Pool     // of *[]byte with room for a chunk
	shards [mapShards]mapShard
}

type mapShard struct {
	mu    sync.Mutex // guards all below
	maps  map[pack.ID]*mapEntry
	ring  []*mapEntry // those that are there, in no order
	hand  int         // in ring
	bytes int64
	limit int64
}

// mapEntry is a node or a region map. Fields but hot are set before done is
// closed and never change.
type mapEntry struct {
	id     pack.ID
	done   chan struct{}
	node   *node
	region *region
	err    error
	bytes  int64
	hot    bool // guarded by the shard's mu
}

// NewMaps returns a cache of at most bytes (0: 64 MiB) over get.
func NewMaps(get cache.Getter, bytes int64) *Maps {
	if bytes <= 0 {
		bytes = defaultMapBytes
	}
	m := &Maps{get: get, room: bytes, slots: make(chan struct{}, 2*runtime.NumCPU())}
	m.bufs.New = func() any {
		b := make([]byte, 0, pack.MaxChunk+pack.Slack)
		return &b
	}
	for i := range m.shards {
		m.shards[i].maps = make(map[pack.ID]*mapEntry)
		m.shards[i].limit = bytes / mapShards
	}
	return m
}

// lookup finds a decoded map. It returns an entry without an error.
type lookup func(ctx context.Context, id pack.ID) (*mapEntry, error)

// find returns the map of that id, loading it if need be.
func (m *Maps) find(ctx context.Context, id pack.ID) (*mapEntry, error) {
	s := &m.shards[id[0]%mapShards]
	s.mu.Lock()
	e := s.maps[id]
	if e == nil {
		e = &mapEntry{id: id, done: make(chan struct{})}
		s.maps[id] = e
		// Not the caller's context: others may come to wait too.
		go m.load(context.WithoutCancel(ctx), s, e)
	}
	e.hot = true
	s.mu.Unlock()
	select {
	case <-e.done:
	default:
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return e, e.err
}

// Fetch has a map in memory. Its error is that of the map which does not come.
func (m *Maps) Fetch(ctx context.Context, id pack.ID) error {
	_, err := m.find(ctx, id)
	return err
}

// peek returns the map of that id if it is in memory, or errNotCached.
func (m *Maps) peek(_ context.Context, id pack.ID) (*mapEntry, error) {
	s := &m.shards[id[0]%mapShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.maps[id]
	if e == nil || e.bytes == 0 { // bytes is set under mu when it is there
		return nil, errNotCached
	}
	e.hot = true
	return e, nil
}

// load fetches and decodes the map of e with no lock held.
func (m *Maps) load(ctx context.Context, s *mapShard, e *mapEntry) {
	m.slots <- struct{}{}
	defer func() { <-m.slots }()
	buf := m.bufs.Get().(*[]byte)
	defer m.bufs.Put(buf)
	plain, err := m.get.Get(ctx, e.id, (*buf)[:0])
	if err == nil {
		err = e.decode(plain)
	}
	if err != nil {
		e.err = fmt.Errorf("map %v: %w", e.id, err)
	}
	s.settle(e, mapOverhead+e.memory(len(plain)))
	close(e.done)
}

func (e *mapEntry) decode(plain []byte) (err error) {
	if len(plain) >= 4 && string(plain[:4]) == nodeMagic {
		e.node, err = decodeNode(plain)
	} else {
		e.region, err = parseRegion(plain)
	}
	return err
}

// memory returns what the decoded map of n bytes takes.
func (e *mapEntry) memory(n int) int64 {
	if e.node != nil {
		return int64(n + units*4*(len(e.node.ids)+1)) // and its sums
	}
	return int64(n)
}

// settle keeps what was loaded and makes room for it, or forgets it when it
// failed.
func (s *mapShard) settle(e *mapEntry, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.err != nil {
		delete(s.maps, e.id)
		return
	}
	e.bytes = bytes
	s.bytes += bytes
	for s.bytes > s.limit && len(s.ring) > 0 {
		s.evictOne()
	}
	s.ring = append(s.ring, e)
}

// evictOne lets the clock's hand pass until something goes. Readers that hold
// a map keep it alive themselves.
func (s *mapShard) evictOne() {
	for {
		s.hand %= len(s.ring)
		e := s.ring[s.hand]
		if !e.hot {
			last := len(s.ring) - 1
			s.ring[s.hand] = s.ring[last]
			s.ring[last] = nil
			s.ring = s.ring[:last]
			s.bytes -= e.bytes
			delete(s.maps, e.id)
			return
		}
		e.hot = false
		s.hand++
	}
}
