package cache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/chunkstore/pack"
)

// What is charged and the buffers that wait never exceed the budget by more than what
// is held and loading; looked at from inside every load.
func TestMemoryBound(t *testing.T) {
	const bytesMax, aheadMax, workers, callers, each = 1 << 20, 512 << 10, 3, 6, 2
	var c *Cache
	var most atomic.Int64
	var ready sync.WaitGroup
	ready.Add(1)
	s := &source{seen: func() {
		ready.Wait()
		st := c.Stats()
		if st.PrefetchBytes > aheadMax {
			t.Errorf("%d bytes prefetched", st.PrefetchBytes)
		}
		for all := st.Bytes + st.PrefetchBytes + c.buffers.waiting(); ; {
			old := most.Load()
			if all <= old || most.CompareAndSwap(old, all) {
				return
			}
		}
	}}
	c = open(t, s, Options{Bytes: bytesMax, Prefetch: aheadMax, Workers: workers})
	ready.Done()
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() { hammer(t, c, uint64(g), 300, each) })
	}
	wg.Wait()
	if limit := int64(bytesMax + (callers*each+workers)*(sizes[len(sizes)-1]+overhead)); most.Load() > limit {
		t.Errorf("%d bytes charged, want at most %d", most.Load(), limit)
	} else if most.Load() < bytesMax/2 {
		t.Errorf("only %d bytes charged: nothing was tested", most.Load())
	}
	if st := c.Stats(); st.Bytes+st.PrefetchBytes+c.buffers.waiting() > bytesMax {
		t.Errorf("%d and %d bytes charged at rest, %d wait", st.Bytes, st.PrefetchBytes, c.buffers.waiting())
	}
}

// waiting is what the buffers between two chunks take.
func (b *buffers) waiting() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.idle
}

// hammer acquires, prefetches, gives up and releases at random, and looks at
// what it holds again and again.
func hammer(t *testing.T, c *Cache, seed uint64, rounds, each int) {
	rnd := rand.New(rand.NewPCG(seed, 5))
	var held []*Chunk
	for range rounds {
		n := rnd.IntN(rnd.IntN(300) + 1)
		switch rnd.IntN(4) {
		case 0:
			c.Prefetch(Want{idOf(n), lenOf(n)}, Want{idOf(n + 1), lenOf(n + 1)})
			continue
		case 1:
			short, cancel := context.WithCancel(ctx)
			ch := c.Begin(idOf(n), lenOf(n))
			cancel()
			if err := ch.Wait(short, lenOf(n)); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errGone) {
				t.Error(err)
			}
			ch.Release()
			continue
		}
		ch, err := c.Acquire(ctx, idOf(n), lenOf(n))
		if errors.Is(err, errGone) {
			continue
		} else if err != nil {
			t.Error(err)
			continue
		}
		held = append(held, ch)
		for _, h := range held {
			n := numOf(h.id)
			if !bytes.Equal(h.Bytes(), plainOf(n, lenOf(n))) {
				t.Errorf("chunk %d changed while held", n)
			}
		}
		if len(held) >= each {
			held[0].Release()
			held = held[1:]
		}
	}
	for _, h := range held {
		h.Release()
	}
}

func TestPressureWithFailures(t *testing.T) {
	var k atomic.Int64
	s := &source{fail: func(int) error {
		if k.Add(1)%7 == 0 {
			return errGone
		}
		return nil
	}}
	for _, opt := range []Options{{Bytes: 1, Prefetch: 1}, {Bytes: 300 << 10, Prefetch: 150 << 10, Workers: 4}, {Bytes: 8 << 20, Prefetch: 4 << 20}} {
		c := open(t, s, opt)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() { hammer(t, c, uint64(g), 300, 3) })
		}
		wg.Wait()
	}
}

func TestPrefetchIsUsedOrGivenUp(t *testing.T) {
	s := &source{length: func(int) int { return pack.MaxChunk }}
	c := open(t, s, Options{Bytes: 1 << 20, Prefetch: 400 << 10, Workers: 1}) // room for five
	want := func(n int) Want { return Want{idOf(n), pack.MaxChunk} }
	for n := range 8 {
		c.Prefetch(want(n))
		until(t, "loaded", func() bool { return s.gets.Load() == int64(n+1) && c.Stats().LoadedBytes == int64(n+1)*pack.MaxChunk })
	}
	st := c.Stats()
	if st.PrefetchWasted != 3 || st.Chunks != 5 || st.Bytes != 0 || st.PrefetchBytes > 400<<10 {
		t.Fatalf("%+v", st)
	}
	for n := 3; n < 8; n++ {
		ch, err := c.Acquire(ctx, idOf(n), pack.MaxChunk)
		if err != nil {
			t.Fatal(err)
		}
		ch.Release()
	}
	if st := c.Stats(); st.PrefetchUsed != 5 || st.Misses != 0 || st.PrefetchBytes != 0 || st.Bytes != 5*chargeOf(pack.MaxChunk) || s.gets.Load() != 8 {
		t.Errorf("%+v", st)
	}
	if c.Prefetch(want(3), Want{idOf(50), 0}, Want{idOf(51), pack.MaxChunk + 1}) != 0 {
		t.Error("took what is there, or has no length")
	}
}

func TestPrefetchNeverWaitsAndDemandGoesFirst(t *testing.T) {
	s := &source{gate: make(chan struct{}), started: make(chan pack.ID, 2000)}
	c := open(t, s, Options{Workers: 1})
	taken := 0
	for n := range 600 {
		taken += c.Prefetch(Want{idOf(n), lenOf(n)})
	}
	if st := c.Stats(); taken < maxAhead || taken > maxAhead+1 || st.PrefetchDropped != int64(600-taken) {
		t.Errorf("%d taken, %+v", taken, st)
	}
	if first := <-s.started; numOf(first) != 0 {
		t.Errorf("chunk %d first", numOf(first))
	}
	promoted, fresh := c.Begin(idOf(400), lenOf(400)), c.Begin(idOf(1000), lenOf(1000))
	s.gate <- struct{}{}
	a, b := <-s.started, func() pack.ID { s.gate <- struct{}{}; return <-s.started }()
	if numOf(a) != 400 || numOf(b) != 1000 {
		t.Errorf("then chunks %d and %d", numOf(a), numOf(b))
	}
	close(s.gate)
	for _, ch := range []*Chunk{promoted, fresh} {
		if err := ch.Wait(ctx, lenOf(numOf(ch.id))); err != nil {
			t.Error(err)
		}
		ch.Release()
	}
	until(t, "queue runs empty", func() bool { return s.gets.Load() == int64(taken+1) })
	// Let the last load end before the accounts are checked.
	until(t, "loads end", func() bool { mustAcquire(t, c, 1).Release(); return c.Stats().Chunks > 0 })
}

func BenchmarkHit(b *testing.B) {
	c := open(b, &source{}, Options{})
	id, n := idOf(1), lenOf(1)
	b.ReportAllocs()
	for b.Loop() {
		ch, _ := c.Acquire(ctx, id, n)
		ch.Release()
	}
}

// blank gives every chunk at once: what is measured is the cache.
type blank struct{}

func (blank) Get(_ context.Context, _ pack.ID, buf []byte) ([]byte, error) {
	return buf[:pack.MaxChunk], nil
}

func BenchmarkMiss(b *testing.B) {
	c, err := New(blank{}, Options{Bytes: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ids := make([]pack.ID, 4096)
	for i := range ids {
		ids[i] = idOf(i)
	}
	b.SetBytes(pack.MaxChunk)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ch, err := c.Acquire(ctx, ids[i%len(ids)], pack.MaxChunk)
		if err != nil {
			b.Fatal(err)
		}
		ch.Release()
		i++
	}
}
