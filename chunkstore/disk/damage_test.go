package disk

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/chunkstore/pack"
)

// sortedIDs lists the store's chunks of a kind, always in the same order.
func (w *world) sortedIDs(match func(pack.Kind) bool) (ids []pack.ID) {
	for id, kind := range w.store.kinds {
		if match(kind) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// Whatever chunk is damaged, a read gives the right bytes or the error.
func TestDamageIsNeverZeros(t *testing.T) {
	for _, size := range []int64{3 * SpanSize, 3 << 40} {
		w := sparse(t, 21, size)
		data := w.sortedIDs(func(k pack.Kind) bool { return !k.Meta() })
		for _, id := range append(w.sortedIDs(pack.Kind.Meta), data[:3]...) {
			damage := &pack.Damage{Kind: pack.Corrupt, ID: id, Err: errors.New("bad sum")}
			w.store.spoil(id, damage)
			r, failed := w.open(), 0
			for _, n := range w.order {
				for from := 0; from < regionLen(size, n); from += 512 << 10 {
					p := make([]byte, min(512<<10, regionLen(size, n)-from))
					err := r.ReadAtContext(ctx, p, n*RegionSize+int64(from))
					switch {
					case err == nil && !bytes.Equal(p, w.read(n*RegionSize+int64(from), len(p))):
						t.Fatalf("%v %v damaged: wrong bytes in region %d", w.store.kinds[id], id, n)
					case err != nil && (!errors.Is(err, damage) || !strings.Contains(err.Error(), id.String())):
						t.Fatal(err)
					case err != nil:
						failed++
					}
				}
			}
			if failed == 0 {
				t.Fatalf("%v %v damaged: no read failed", w.store.kinds[id], id)
			}
			w.store.spoil(id, nil)
			p := make([]byte, 1)
			for _, n := range w.order { // errors are not kept
				if err := r.ReadAtContext(ctx, p, n*RegionSize); err != nil {
					t.Fatalf("after healing: %v", err)
				}
			}
		}
	}
}

func TestEveryMethodFailsWithoutMaps(t *testing.T) {
	w := sparse(t, 22, 3<<40)
	for _, id := range w.sortedIDs(pack.Kind.Meta) {
		w.store.spoil(id, errNoChunk)
	}
	r, p := w.open(), make([]byte, 10)
	for name, err := range map[string]error{
		"read":    r.ReadAtContext(ctx, p, 0),
		"view":    second(r.View(ctx, 0, 10, nil)),
		"rank":    third(r.Rank(ctx, GrainSize, 0)),
		"select":  second(r.Select(ctx, BlockSize, 0)),
		"extent":  third(r.Extent(ctx, 0)),
		"regions": r.Regions(ctx, 0, func(int64, pack.ID, uint64) error { return nil }),
		"parts":   r.Check(ctx),
		"region":  second(r.RegionMap(ctx, 0)),
	} {
		if !errors.Is(err, errNoChunk) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// Made-up images are computed from the counts alone, so a unit behind the end
// must not be counted.
func TestUnitsBehindTheEnd(t *testing.T) {
	w := newWorld(t, 25, SpanSize+GrainSize)
	w.set(0, RegionMap{w.data(1)})
	w.set(leafEntries, RegionMap{w.data(1)})
	w.build()
	first := w.lieNode(draft{ids: []pack.ID{w.lie(w.regions[0])}, bits: []uint64{1}})
	for bitmap, ok := range map[uint64]bool{1: true, 2: false} {
		last := w.lieNode(draft{ids: []pack.ID{w.lie(w.regions[leafEntries])}, bits: []uint64{bitmap}})
		w.m.Root = w.lieNode(draft{level: 1, ids: []pack.ID{first, last}, counts: []totals{{1, 1, 1}, {1, 1, 1}}})
		if n, err := w.open().Select(ctx, GrainSize, 1); (err == nil) != ok {
			t.Errorf("bitmap %b: unit %d, %v", bitmap, n, err)
		}
	}
}

func TestCheckCountsData(t *testing.T) {
	w := newWorld(t, 26, RegionSize)
	w.set(0, RegionMap{w.data(100)})
	w.build().m.DataBytes++
	if err := w.open().Check(ctx); err == nil {
		t.Error("a wrong count of bytes was not found")
	}
}

// A writer that lies about its own maps is found out.
func TestMapsThatDoNotFit(t *testing.T) {
	data := func(w *world, n int64, off, l int) Extent { e := w.data(l); e.Off = off; return e }
	for name, c := range map[string]struct {
		size  int64
		spoil func(w *world)
	}{
		"chunk is shorter": {RegionSize, func(w *world) {
			e := w.data(99)
			w.store.swap(w.regions[0][0].ID, w.store.chunks[e.ID])
		}},
		"chunk is longer": {RegionSize, func(w *world) {
			e := w.data(pack.MaxChunk)
			w.store.swap(w.regions[0][0].ID, w.store.chunks[e.ID])
		}},
		"totals":              {RegionSize, func(w *world) { w.m.Grains++; w.m.DataBytes++ }},
		"root of other level": {RegionSize, func(w *world) { w.m.Size = SpanSize + 1 }},
		"region map as root":  {RegionSize, func(w *world) { w.m.Root = w.lie(w.regions[0]) }},
		"root as region map": {RegionSize, func(w *world) {
			w.m.Root = w.lieNode(draft{ids: []pack.ID{w.m.Root}, bits: []uint64{w.regions[0].Bitmap()}})
		}},
		"other bitmap": {RegionSize, func(w *world) {
			w.m.Root = w.lieNode(draft{ids: []pack.ID{w.lie(w.regions[0])}, bits: []uint64{2}})
		}},
		"region behind the end": {RegionSize, func(w *world) {
			e := data(w, 1, 0, 1)
			w.m.Root = w.lieNode(draft{ids: []pack.ID{{}, w.lie(RegionMap{e})}, bits: []uint64{0, 1}})
		}},
		"grain behind the end": {GrainSize, func(w *world) {
			e := data(w, 0, GrainSize, 1)
			w.m.Root = w.lieNode(draft{ids: []pack.ID{w.lie(RegionMap{e})}, bits: []uint64{2}})
		}},
		"byte behind the end": {GrainSize - 1, func(w *world) {
			e := data(w, 0, GrainSize-1, 1)
			w.m.Root = w.lieNode(draft{ids: []pack.ID{w.lie(RegionMap{e})}, bits: []uint64{1}})
		}},
	} {
		w := newWorld(t, 23, c.size)
		w.set(0, RegionMap{w.data(100)})
		w.build()
		c.spoil(w)
		r := w.open()
		p := make([]byte, min(c.size, 200))
		if err := r.ReadAtContext(ctx, p, 0); err == nil {
			t.Errorf("%s: read", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func (w *world) lie(m RegionMap) pack.ID {
	id, _ := w.store.put(ctx, pack.KindRegionMap, encodeUnchecked(m))
	return id
}

func (w *world) lieNode(d draft) pack.ID {
	id, _ := w.store.put(ctx, pack.KindDiskMap, d.encode(nil))
	return id
}

// Maps with a byte changed anywhere: every method ends, without a panic.
func TestMutatedMaps(t *testing.T) {
	w := sparse(t, 24, 3<<40)
	good := maps.Clone(w.store.chunks)
	for i, id := range w.sortedIDs(pack.Kind.Meta) {
		for range 60 {
			b := bytes.Clone(good[id])
			for range 1 + w.rnd.IntN(3) {
				b[w.rnd.IntN(min(len(b), 16+w.rnd.IntN(len(b))))] ^= 1 << w.rnd.IntN(8)
			}
			w.store.swap(id, b)
			w.useAll(w.open(), w.order[i%len(w.order)])
		}
		w.store.swap(id, good[id])
	}
	for range 100 {
		good := w.m
		for _, v := range []*int64{&w.m.Size, &w.m.DataBytes, &w.m.Grains, &w.m.Blocks, &w.m.Spans} {
			if w.rnd.IntN(3) == 0 {
				*v = []int64{*v + 1, *v - 1, *v * 2, *v / 2, -*v, 0, math.MaxInt64}[w.rnd.IntN(7)]
			}
		}
		if w.m.Validate() == nil {
			w.useAll(w.open(), 0)
		}
		w.m = good
	}
}

func (w *world) useAll(r *Reader, n int64) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	p := make([]byte, min(100<<10, w.size))
	off := min(n*RegionSize, r.Size()-int64(len(p)))
	r.ReadAtContext(ctx, p, off)
	r.Extent(ctx, off)
	r.Check(ctx)
	for _, unit := range []int64{GrainSize, BlockSize, SpanSize} {
		r.Rank(ctx, unit, off/unit)
		for _, k := range []int64{0, r.Count(unit) / 2, r.Count(unit) - 1} {
			if n, err := r.Select(ctx, unit, k); err == nil && (n < 0 || n*unit >= r.Size()) {
				w.t.Errorf("select found unit %d behind the end", n)
			}
		}
	}
	if ctx.Err() != nil {
		w.t.Fatal("hangs")
	}
}
