package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

var errNoChunk = errors.New("no such chunk")

// memStore is a store in memory that can be told to misbehave.
type memStore struct {
	key    pack.Key
	mu     sync.Mutex
	chunks map[pack.ID][]byte
	kinds  map[pack.ID]pack.Kind
	faults map[pack.ID]error
	gets   atomic.Int64
}

func newStore() *memStore {
	return &memStore{key: pack.Key{1}, chunks: map[pack.ID][]byte{}, kinds: map[pack.ID]pack.Kind{}, faults: map[pack.ID]error{}}
}

func (s *memStore) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	s.gets.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.faults[id]; err != nil {
		return nil, err
	}
	plain, ok := s.chunks[id]
	if !ok {
		return nil, errNoChunk
	}
	return append(buf[:0], plain...), nil
}

func (s *memStore) put(_ context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
	id := s.key.ID(plain)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[id] = append([]byte(nil), plain...)
	s.kinds[id] = kind
	return id, nil
}

// spoil makes every Get of id fail with err; nil ends that.
func (s *memStore) spoil(id pack.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[id] = err
}

// swap makes plain the bytes of chunk id, although they have another id.
func (s *memStore) swap(id pack.ID, plain []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[id] = plain
}

// world is a disk and what it must hold.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	store   *memStore
	size    int64
	regions map[int64]RegionMap
	order   []int64 // of regions
	m       Map
}

func newWorld(t testing.TB, seed uint64, size int64) *world {
	return &world{t: t, rnd: rand.New(rand.NewPCG(seed, 9)), store: newStore(), size: size, regions: map[int64]RegionMap{}}
}

func (w *world) data(n int) Extent {
	plain := make([]byte, 0, n+8)
	for len(plain) < n {
		plain = binary.LittleEndian.AppendUint64(plain, w.rnd.Uint64())
	}
	plain = plain[:n]
	id, _ := w.store.put(context.Background(), pack.KindData, plain)
	return Extent{Len: n, ID: id}
}

// fill gives region n extents of many shapes; density is the chance that the
// next extent follows at once.
func (w *world) fill(n int64, density float64) {
	var m RegionMap
	end := regionLen(w.size, n)
	for off := 0; off < end && len(m) < MaxExtents; {
		if w.rnd.Float64() > density {
			off += 1 + w.rnd.IntN(300<<10)
			continue
		}
		most := min(pack.MaxChunk, end-off)
		if most < 1 {
			break
		}
		l := most
		if w.rnd.IntN(2) == 0 {
			l = 1 + w.rnd.IntN(most)
		}
		e := w.data(l)
		e.Off = off
		m = append(m, e)
		off += l
	}
	if len(m) > 0 {
		w.set(n, m)
	}
}

func (w *world) set(n int64, m RegionMap) {
	w.regions[n] = m
	w.order = append(w.order, n)
}

// build writes the map through a Builder.
func (w *world) build() *world {
	w.t.Helper()
	b, err := NewBuilder(w.size, w.store.put)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range w.order {
		if err := b.Add(context.Background(), n, w.regions[n]); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.m, err = b.Finish(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return w
}

func (w *world) open() *Reader {
	w.t.Helper()
	return w.openWith(cache.Options{Bytes: 8 << 20, Prefetch: 2 << 20, Workers: 2, Poison: true}, 1<<20)
}

func (w *world) openWith(opt cache.Options, mapBytes int64) *Reader {
	w.t.Helper()
	c, err := cache.New(w.store, opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	r, err := Open(c, NewMaps(w.store, mapBytes), w.m)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// read is the oracle: it paints every extent that touches the range.
func (w *world) read(off int64, n int) []byte {
	p := make([]byte, n)
	for no := off / RegionSize; no*RegionSize < off+int64(n); no++ {
		for _, e := range w.regions[no] {
			at := no*RegionSize + int64(e.Off)
			from, to := max(at, off), min(at+int64(e.Len), off+int64(n))
			if from < to {
				copy(p[from-off:to-off], w.store.chunks[e.ID][from-at:])
			}
		}
	}
	return p
}

// run is a stretch of data.
type run struct{ from, to int64 }

// runs lists the disk's data in order, neighbours merged.
func (w *world) runs() (rs []run) {
	for _, n := range w.order {
		for _, e := range w.regions[n] {
			from := n*RegionSize + int64(e.Off)
			if len(rs) > 0 && rs[len(rs)-1].to == from {
				rs[len(rs)-1].to += int64(e.Len)
			} else {
				rs = append(rs, run{from, from + int64(e.Len)})
			}
		}
	}
	return rs
}

// allocated lists the units that any run touches, in order.
func (w *world) allocated(unit int64) (list []int64) {
	for _, r := range w.runs() {
		for n := r.from / unit; n*unit < r.to; n++ {
			if len(list) == 0 || list[len(list)-1] < n {
				list = append(list, n)
			}
		}
	}
	return list
}

// worlds calls fn with disks of many sizes and densities.
func worlds(t *testing.T, fn func(t *testing.T, w *world)) {
	sizes := []int64{1, 2, 511, 512, GrainSize - 1, GrainSize, GrainSize + 1, RegionSize - 1, RegionSize, RegionSize + 1, 3*RegionSize + 12345}
	for i, size := range sizes {
		for j, density := range []float64{0, 0.1, 0.9, 1} {
			t.Run(fmt.Sprintf("%d/%v", size, density), func(t *testing.T) {
				w := newWorld(t, uint64(i*10+j), size)
				for n := range regionCount(size) {
					w.fill(n, density)
				}
				fn(t, w.build())
			})
		}
	}
	for i, size := range []int64{SpanSize - 1, SpanSize, SpanSize + 1, 512<<30 - 1, 512 << 30, 512<<30 + 1, 3<<40 + 5, MaxSize - 1, MaxSize} {
		t.Run(fmt.Sprintf("%d/spots", size), func(t *testing.T) {
			fn(t, sparse(t, uint64(100+i), size))
		})
	}
}

// sparse makes a disk with a few full regions, also at its very ends.
func sparse(t testing.TB, seed uint64, size int64) *world {
	w := newWorld(t, seed, size)
	last := regionCount(size) - 1
	spots := map[int64]bool{0: true, 1: true, last: true}
	for range 4 {
		spots[w.rnd.Int64N(last+1)] = true
	}
	for _, n := range sorted(spots) {
		w.fill(n, 0.5)
	}
	return w.build()
}
