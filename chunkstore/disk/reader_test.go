package disk

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sort"
	"sync"
	"testing"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

var ctx = context.Background()

func sorted(set map[int64]bool) []int64 { return slices.Sorted(maps.Keys(set)) }

// spotOffsets returns offsets worth reading: the edges of runs, of regions and
// of the disk, and some anywhere.
func (w *world) spotOffsets(n int) (offs []int64) {
	rs := w.runs()
	for range n {
		off := w.rnd.Int64N(w.size)
		if len(rs) > 0 && w.rnd.IntN(4) > 0 {
			r := rs[w.rnd.IntN(len(rs))]
			off = []int64{r.from, r.to, r.from + w.rnd.Int64N(r.to-r.from)}[w.rnd.IntN(3)] - int64(w.rnd.IntN(3)*w.rnd.IntN(5000))
		}
		offs = append(offs, min(max(off, 0), w.size-1))
	}
	return append(offs, 0, w.size-1)
}

// length returns how much to read at off: up to most bytes, now and then to
// where a chunk begins or ends, or a byte more or less.
func (w *world) length(off, most int64) int {
	most = min(most, w.size-off)
	if m := w.regions[off/RegionSize]; len(m) > 0 && w.rnd.IntN(2) == 0 {
		from := int(off % RegionSize)
		if i, _ := m.Find(from); i < len(m) {
			edge := m[i].Off + m[i].Len*w.rnd.IntN(2) + w.rnd.IntN(3) - 1
			if n := int64(edge - from); n > 0 && n <= most {
				return int(n)
			}
		}
	}
	return int(w.rnd.Int64N(most + 1))
}

func TestReadsMatchOracle(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		r := w.open()
		if r.Size() != w.size || r.DataBytes() != w.m.DataBytes {
			t.Fatalf("size %d, data %d", r.Size(), r.DataBytes())
		}
		for i, off := range w.spotOffsets(80) {
			most := []int64{1, 5000, 100 << 10, 5 << 20}[i%4]
			p := make([]byte, w.length(off, most))
			for j := range p {
				p[j] = 0xEE
			}
			if err := r.ReadAtContext(ctx, p, off); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p, w.read(off, len(p))) {
				t.Fatalf("%d bytes at %d differ", len(p), off)
			}
		}
	})
}

func TestViewMatchesOracle(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		r := w.open()
		kept := []Segment{{Len: 7}} // must not be touched
		for _, off := range w.spotOffsets(60) {
			n := w.length(off, 1<<20)
			segs, err := r.View(ctx, off, n, kept)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for i := range segs[1:] {
				s := &segs[1+i]
				if b := s.Bytes(); b != nil {
					if len(b) != s.Len {
						t.Fatalf("segment of %d has %d bytes", s.Len, len(b))
					}
					got = append(got, b...)
				} else {
					got = append(got, make([]byte, s.Len)...)
				}
				if s.Len < 1 {
					t.Fatal("empty segment")
				}
			}
			if segs[0].Len != 7 || !bytes.Equal(got, w.read(off, n)) {
				t.Fatalf("%d bytes at %d differ", n, off)
			}
			Release(segs)
		}
	})
}

func TestReadAtEnds(t *testing.T) {
	w := newWorld(t, 3, 10000)
	w.fill(0, 1)
	r := w.build().open()
	p := make([]byte, 20000)
	for _, c := range []struct {
		off  int64
		n    int
		want int
		err  error
	}{{0, 10000, 10000, nil}, {0, 10001, 10000, io.EOF}, {9999, 1, 1, nil}, {9999, 2, 1, io.EOF}, {10000, 1, 0, io.EOF}, {20000, 1, 0, io.EOF}, {5, 0, 0, nil}} {
		n, err := r.ReadAt(p[:c.n], c.off)
		if n != c.want || err != c.err || !bytes.Equal(p[:n], w.read(c.off, n)) {
			t.Errorf("ReadAt(%d, %d) = %d, %v", c.n, c.off, n, err)
		}
	}
	if _, err := r.ReadAt(p[:1], -1); err == nil {
		t.Error("negative offset read")
	}
	for _, c := range []struct {
		off int64
		n   int
	}{{-1, 1}, {0, 10001}, {10000, 1}, {1 << 62, 1}, {-1 << 63, 10}} {
		if err := r.ReadAtContext(ctx, p[:c.n], c.off); err == nil {
			t.Errorf("read %d at %d", c.n, c.off)
		}
	}
}

func TestRankSelectMatchBruteForce(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		r := w.open()
		for _, unit := range []int64{GrainSize, BlockSize, SpanSize} {
			list := w.allocated(unit)
			if r.Count(unit) != int64(len(list)) {
				t.Fatalf("count(%d) = %d, want %d", unit, r.Count(unit), len(list))
			}
			ask := map[int64]bool{0: true, ceilDiv(w.size, unit) - 1: true}
			for k, n := range list {
				if got, err := r.Select(ctx, unit, int64(k)); err != nil || got != n {
					t.Fatalf("select(%d, %d) = %d, %v, want %d", unit, k, got, err, n)
				}
				ask[n], ask[max(n-1, 0)], ask[min(n+1, ceilDiv(w.size, unit)-1)] = true, true, true
			}
			for range 100 {
				ask[w.rnd.Int64N(ceilDiv(w.size, unit))] = true
			}
			for n := range ask {
				want, in := slices.BinarySearch(list, n)
				if got, alloc, err := r.Rank(ctx, unit, n); err != nil || got != int64(want) || alloc != in {
					t.Fatalf("rank(%d, %d) = %d, %v, %v, want %d, %v", unit, n, got, alloc, err, want, in)
				}
			}
			for _, n := range []int64{-1, ceilDiv(w.size, unit)} {
				if _, _, err := r.Rank(ctx, unit, n); err == nil {
					t.Errorf("rank of unit %d", n)
				}
			}
			for _, k := range []int64{-1, int64(len(list))} {
				if _, err := r.Select(ctx, unit, k); err == nil {
					t.Errorf("select of %d", k)
				}
			}
		}
	})
}

// extentAt is the oracle of Extent.
func extentAt(rs []run, size, off int64) (int64, bool) {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].to > off })
	switch {
	case i == len(rs):
		return size - off, false
	case rs[i].from <= off:
		return rs[i].to - off, true
	}
	return rs[i].from - off, false
}

func TestExtentsAreExact(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		r, rs := w.open(), w.runs()
		for _, off := range append(w.spotOffsets(200), 0) {
			n, data, err := r.Extent(ctx, off)
			wantN, wantData := extentAt(rs, w.size, off)
			if err != nil || n != wantN || data != wantData {
				t.Fatalf("extent(%d) = %d, %v, %v, want %d, %v", off, n, data, err, wantN, wantData)
			}
		}
		for _, off := range []int64{-1, w.size} {
			if _, _, err := r.Extent(ctx, off); err == nil {
				t.Errorf("extent at %d", off)
			}
		}
	})
}

func TestExtentsAcrossRegions(t *testing.T) {
	w := newWorld(t, 2, 4*RegionSize)
	at := func(off, n int) Extent { e := w.data(n); e.Off = off; return e }
	w.set(0, RegionMap{at(RegionSize-10, 10)})
	w.set(1, RegionMap{at(0, 10), at(10, 5), at(RegionSize-1, 1)})
	w.set(2, RegionMap{at(1, 10), at(RegionSize-2, 1)})
	r := w.build().open()
	for add := range int64(3) {
		for _, base := range []int64{0, RegionSize - 11, RegionSize, RegionSize + 14, 2*RegionSize - 2, 2 * RegionSize, 2*RegionSize + 10, 3*RegionSize - 2} {
			at := base + add
			n, data, err := r.Extent(ctx, at)
			if wantN, wantData := extentAt(w.runs(), w.size, at); err != nil || n != wantN || data != wantData {
				t.Errorf("extent(%d) = %d, %v, %v, want %d, %v", at, n, data, err, wantN, wantData)
			}
		}
	}
}

func TestExtentCutsLongRuns(t *testing.T) {
	w := newWorld(t, 1, SpanSize)
	e := w.data(pack.MaxChunk)
	for n := range regionCount(w.size) {
		var m RegionMap
		for off := 0; off < RegionSize; off += e.Len {
			m = append(m, Extent{off, e.Len, e.ID})
		}
		w.set(n, m)
	}
	r := w.build().open()
	var got []int64
	for off := int64(5); off < w.size; {
		n, data, err := r.Extent(ctx, off)
		if err != nil || !data || n < 1 {
			t.Fatal(n, data, err)
		}
		got, off = append(got, n), off+n
	}
	if len(got) > 3 {
		t.Errorf("%d runs for a full span: %v", len(got), got)
	}
}

func TestHugeHoleIsOneStep(t *testing.T) {
	w := newWorld(t, 1, MaxSize)
	e := w.data(1)
	e.Off = RegionSize - 1
	w.set(regionCount(MaxSize)-1, RegionMap{e})
	r := w.build().open()
	n, data, err := r.Extent(ctx, 0)
	if err != nil || data || n != MaxSize-1 {
		t.Fatalf("%d, %v, %v", n, data, err)
	}
	if gets := w.store.gets.Load(); gets > 4 {
		t.Errorf("%d maps read", gets)
	}
}

func TestRegionsAndParts(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		r := w.open()
		for _, from := range []int64{0, 1, regionCount(w.size) / 2, regionCount(w.size) - 1, regionCount(w.size)} {
			var got []int64
			err := r.Regions(ctx, from, func(n int64, id pack.ID, bitmap uint64) error {
				if bitmap != w.regions[n].Bitmap() || w.store.kinds[id] != pack.KindRegionMap {
					t.Errorf("region %d: bitmap %x, map %v", n, bitmap, id)
				}
				got = append(got, n)
				return nil
			})
			i, _ := slices.BinarySearch(w.order, from)
			if err != nil || !slices.Equal(got, w.order[i:]) {
				t.Fatalf("regions from %d: %v, %v, want %v", from, got, err, w.order[i:])
			}
		}
		seen := map[pack.ID]bool{}
		if err := r.Parts(ctx, func(p Part) (bool, error) {
			if w.store.kinds[p.ID] != p.Kind {
				t.Errorf("%v is a %v, not a %v", p.ID, w.store.kinds[p.ID], p.Kind)
			}
			seen[p.ID] = true
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(seen) != len(w.store.chunks) {
			t.Errorf("%d parts, but the store holds %d chunks", len(seen), len(w.store.chunks))
		}
		nodes := 0
		if err := r.Nodes(ctx, func(kind pack.Kind, id pack.ID) error { nodes++; return nil }); err != nil {
			t.Fatal(err)
		}
		for n, m := range w.regions {
			got, err := r.RegionMap(ctx, n)
			if err != nil || !slices.Equal(got, m) {
				t.Fatalf("map of region %d: %v", n, err)
			}
		}
		if err := r.Check(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestManyReadersUnderPressure(t *testing.T) {
	w := newWorld(t, 7, 9*RegionSize+77)
	for n := range regionCount(w.size) {
		w.fill(n, 0.8)
	}
	// Caches far too small, so that everything is evicted all the time.
	r := w.build().openWith(cache.Options{Bytes: 400 << 10, Prefetch: 200 << 10, Workers: 2, Poison: true}, 1)
	var wg sync.WaitGroup
	for g := range 8 {
		mine := newWorld(t, uint64(50+g), w.size)
		wg.Go(func() {
			for range 60 {
				off := mine.rnd.Int64N(w.size)
				p := make([]byte, mine.rnd.Int64N(min(300<<10, w.size-off)+1))
				r.Prefetch(ctx, off+int64(len(p)), 256<<10)
				if err := r.ReadAtContext(ctx, p, off); err != nil {
					t.Error(err)
				} else if !bytes.Equal(p, w.read(off, len(p))) {
					t.Errorf("%d bytes at %d differ", len(p), off)
				}
			}
		})
	}
	wg.Wait()
}
