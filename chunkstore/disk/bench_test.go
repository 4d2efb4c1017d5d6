package disk

import (
	"math/rand/v2"
	"testing"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

// grid makes a disk of size bytes whose every step-th region is full, of few
// different chunks.
func grid(b testing.TB, size, step int64) *world {
	w := newWorld(b, 40, size)
	data := make([]Extent, 64)
	for i := range data {
		data[i] = w.data(pack.MaxChunk)
	}
	for n := int64(0); n < regionCount(size); n += step {
		var m RegionMap
		for off := 0; off < RegionSize; off += pack.MaxChunk {
			m = append(m, Extent{off, pack.MaxChunk, data[w.rnd.IntN(len(data))].ID})
		}
		w.set(n, m)
	}
	return w.build()
}

func warm(b *testing.B, size, step int64) (*world, *Reader) {
	w := grid(b, size, step)
	r := w.openWith(cache.Options{Bytes: 64 << 20}, 256<<20)
	if err := r.Check(ctx); err != nil {
		b.Fatal(err)
	}
	return w, r
}

// Random 4 KiB reads of which chunks and maps are in memory.
func BenchmarkRead4K(b *testing.B) {
	for name, c := range map[string][2]int64{"4GiB": {4 << 30, 1}, "8TiB": {8 << 40, 2048}} {
		b.Run(name, func(b *testing.B) {
			w, r := warm(b, c[0], c[1])
			p := make([]byte, 4096)
			rnd := rand.New(rand.NewPCG(1, 1))
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				n := w.order[rnd.IntN(len(w.order))]
				if err := r.ReadAtContext(ctx, p, n*RegionSize+rnd.Int64N(RegionSize)&^4095); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkView1M(b *testing.B) {
	_, r := warm(b, 1<<30, 1)
	segs := make([]Segment, 0, 32)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		s, err := r.View(ctx, off, 1<<20, segs)
		if err != nil {
			b.Fatal(err)
		}
		Release(s)
		off = (off + 1<<20) % (1 << 30)
	}
}

func BenchmarkRank(b *testing.B) {
	_, r := warm(b, 8<<40, 2048)
	rnd := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Rank(ctx, GrainSize, rnd.Int64N(8<<40/GrainSize)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	_, r := warm(b, 8<<40, 2048)
	rnd := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Select(ctx, GrainSize, rnd.Int64N(r.Count(GrainSize))); err != nil {
			b.Fatal(err)
		}
	}
}

// One unchanged region of a new version.
func BenchmarkAddKnown(b *testing.B) {
	w := newWorld(b, 1, MaxSize)
	bd, _ := NewBuilder(MaxSize, w.store.put)
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := bd.AddKnown(ctx, n, pack.ID{1, byte(n)}, 1, 1); err != nil {
			b.Fatal(err)
		}
		if n++; n == regionCount(MaxSize) {
			bd, _ = NewBuilder(MaxSize, w.store.put)
			n = 0
		}
	}
}
