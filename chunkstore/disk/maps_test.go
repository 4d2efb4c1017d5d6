package disk

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

func (m *Maps) memory() (bytes int64, n int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		bytes, n = bytes+s.bytes, n+len(s.maps)
		s.mu.Unlock()
	}
	return bytes, n
}

func TestMapsKeepTheirBudget(t *testing.T) {
	w := newWorld(t, 31, 64*SpanSize)
	for n := int64(0); n < regionCount(w.size); n += 3 {
		e := Extent{Len: 1, ID: pack.ID{1, byte(n), byte(n >> 8)}}
		w.set(n, RegionMap{e, {Off: 9, Len: 1, ID: e.ID}, {Off: 99, Len: 1, ID: e.ID}})
	}
	const budget = 300 << 10
	w.build()
	mc := NewMaps(w.store, budget)
	r, err := Open(nil, mc, w.m) // reads no chunks
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Check(ctx); err != nil {
			t.Fatal(err)
		}
		if bytes, n := mc.memory(); bytes > budget || n < 100 {
			t.Errorf("%d maps in %d bytes, want at most %d", n, bytes, budget)
		}
	}
}

// slowStore blocks each Get until it is let go.
type slowStore struct {
	*memStore
	let     chan struct{}
	started chan struct{}
}

func (s *slowStore) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	s.started <- struct{}{}
	<-s.let
	return s.memStore.Get(ctx, id, buf)
}

func TestMapsLoadOnceAndWaitersMayLeave(t *testing.T) {
	w := sparse(t, 32, SpanSize)
	slow := &slowStore{w.store, make(chan struct{}), make(chan struct{}, 100)}
	mc := NewMaps(slow, 0)
	short, cancel := context.WithCancel(ctx)
	left := make(chan error)
	go func() { _, err := mc.find(short, w.m.Root); left <- err }()
	<-slow.started
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if e, err := mc.find(ctx, w.m.Root); err != nil || e.node == nil {
				t.Error(err)
			}
		})
	}
	cancel() // the load's first waiter leaves; the load stays
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := mc.peek(ctx, w.m.Root); err != errNotCached {
		t.Error(err)
	}
	close(slow.let)
	wg.Wait()
	if _, err := mc.peek(ctx, w.m.Root); err != nil {
		t.Error(err)
	}
	if n := w.store.gets.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestPrefetchBringsChunks(t *testing.T) {
	w := newWorld(t, 33, 3*RegionSize)
	for n := range regionCount(w.size) {
		w.fill(n, 1)
	}
	w.build()
	c, err := cache.New(w.store, cache.Options{Bytes: 64 << 20, Prefetch: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, _ := Open(c, NewMaps(w.store, 0), w.m)
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, c.Stats())
			}
		}
	}
	r.Prefetch(ctx, RegionSize-100<<10, 200<<10) // maps not in memory, over an edge
	until("cold", func() bool { return !r.ahead.Load() })
	queued := c.Stats().Prefetched
	if queued < 4 {
		t.Fatalf("%d queued", queued)
	}
	until("loaded", func() bool { return c.Stats().LoadedBytes >= 200<<10 })
	p := make([]byte, 200<<10)
	if err := r.ReadAtContext(ctx, p, RegionSize-100<<10); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Misses != 0 || s.PrefetchUsed != queued {
		t.Errorf("%+v", s)
	}
	gets := w.store.gets.Load()
	for _, off := range []int64{-1, w.size, 1 << 62} {
		r.Prefetch(ctx, off, 100)
	}
	r.Prefetch(ctx, 0, -5)
	if r.ahead.Load() || w.store.gets.Load() != gets {
		t.Error("prefetched outside of the disk")
	}
	r.Prefetch(ctx, w.size-1, 1<<62)
}

// TestLoadMapsBringsWhatFits loads a disk's maps ahead: all of them where they take a
// part of the room, and none where not.
func TestLoadMapsBringsWhatFits(t *testing.T) {
	w := newWorld(t, 32, 3*SpanSize)
	for n := int64(0); n < regionCount(w.size); n += 5 {
		w.set(n, RegionMap{{Len: 1, ID: pack.ID{1, byte(n), byte(n >> 8)}}})
	}
	w.build()
	for _, c := range []struct {
		room int64
		want int
	}{{1 << 20, len(w.order) + 3 + 1}, {16 << 10, 0}} {
		mc := NewMaps(w.store, c.room)
		r, err := Open(nil, mc, w.m)
		if err != nil {
			t.Fatal(err)
		}
		r.LoadMaps(ctx)
		if _, n := mc.memory(); n != c.want {
			t.Errorf("%d maps in room for %d bytes, want %d", n, c.room, c.want)
		}
		if _, err := r.region(ctx, mc.peek, w.order[7]); (err == nil) != (c.want > 0) {
			t.Errorf("room for %d bytes: %v", c.room, err)
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	mc := NewMaps(w.store, 0)
	r, _ := Open(nil, mc, w.m)
	if r.LoadMaps(over); len(w.order) < 10 {
		t.Fatal("too few maps for this test")
	}
	if _, n := mc.memory(); n > 2 {
		t.Errorf("%d maps loaded after the end", n)
	}
}
