package image

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"
)

var testID = Identity{
	UUID: [16]byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef, 0x81, 0x02, 3, 4, 5, 6, 7, 8},
	Time: time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC),
}

// run is guest bytes [start, end).
type run struct{ start, end int64 }

// sparseDisk is a disk of any size of which a few runs are stored. Its bytes
// are a function of seed and offset.
type sparseDisk struct {
	size   int64
	seed   uint64
	stored []run
	units  map[Unit][]int64 // the allocated units, ascending
}

var _ Disk = (*sparseDisk)(nil)

func newSparseDisk(size int64, seed uint64, stored []run) *sparseDisk {
	d := &sparseDisk{size: size, seed: seed, stored: merge(stored), units: map[Unit][]int64{}}
	for _, u := range []Unit{Grain, Block, Span} {
		var list []int64
		for _, r := range d.stored {
			for n := r.start / int64(u); n*int64(u) < r.end; n++ {
				if len(list) == 0 || list[len(list)-1] < n {
					list = append(list, n)
				}
			}
		}
		d.units[u] = list
	}
	return d
}

// merge sorts runs and joins those that touch.
func merge(runs []run) []run {
	slices.SortFunc(runs, func(a, b run) int { return int(min(max(a.start-b.start, -1), 1)) })
	var out []run
	for _, r := range runs {
		if n := len(out); n > 0 && r.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, r.end)
		} else if r.start < r.end {
			out = append(out, r)
		}
	}
	return out
}

func (d *sparseDisk) Size() int64        { return d.size }
func (d *sparseDisk) Count(u Unit) int64 { return int64(len(d.units[u])) }

func (d *sparseDisk) DataBytes() (n int64) {
	for _, r := range d.stored {
		n += r.end - r.start
	}
	return n
}

func (d *sparseDisk) Rank(_ context.Context, u Unit, n int64) (int64, bool, error) {
	if n < 0 || n >= ceilDiv(d.size, int64(u)) {
		return 0, false, fmt.Errorf("rank of unit %d of %d", n, u)
	}
	k, found := slices.BinarySearch(d.units[u], n)
	return int64(k), found, nil
}

func (d *sparseDisk) Select(_ context.Context, u Unit, k int64) (int64, error) {
	if k < 0 || k >= d.Count(u) {
		return 0, fmt.Errorf("select %d of %d units", k, d.Count(u))
	}
	return d.units[u][k], nil
}

func (d *sparseDisk) Extent(_ context.Context, off int64) (int64, bool, error) {
	if off < 0 || off >= d.size {
		return 0, false, fmt.Errorf("extent at %d of %d", off, d.size)
	}
	i := d.after(off)
	if i == len(d.stored) {
		return d.size - off, false, nil
	}
	if off < d.stored[i].start {
		return d.stored[i].start - off, false, nil
	}
	return d.stored[i].end - off, true, nil
}

// after is the first run that ends after off.
func (d *sparseDisk) after(off int64) int {
	return sort.Search(len(d.stored), func(i int) bool { return d.stored[i].end > off })
}

func (d *sparseDisk) ReadAtContext(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > d.size {
		return fmt.Errorf("read of %d bytes at %d of %d", len(p), off, d.size)
	}
	clear(p)
	end := off + int64(len(p))
	for i := d.after(off); i < len(d.stored) && d.stored[i].start < end; i++ {
		from, to := max(off, d.stored[i].start), min(end, d.stored[i].end)
		d.content(p[from-off:to-off], from)
	}
	return nil
}

// content fills p with what a fully stored disk would hold at off.
func (d *sparseDisk) content(p []byte, off int64) {
	var word [8]byte
	for len(p) > 0 {
		x := (uint64(off/8) ^ d.seed) * 0x9e3779b97f4a7c15
		x = (x ^ x>>29) * 0xbf58476d1ce4e5b9
		binary.LittleEndian.PutUint64(word[:], x^x>>32)
		n := copy(p, word[off%8:])
		p, off = p[n:], off+int64(n)
	}
}

// fill names a way to allocate a disk.
type fill string

const (
	empty  fill = "empty"
	full   fill = "full"
	random fill = "random"
	last   fill = "last"
)

func newDisk(size int64, f fill, seed uint64) *sparseDisk {
	switch f {
	case full:
		return newSparseDisk(size, seed, []run{{0, size}})
	case last:
		return newSparseDisk(size, seed, []run{{(size - 1) / 512 * 512, size}})
	case random:
		return newSparseDisk(size, seed, randomRuns(size, seed))
	}
	return newSparseDisk(size, seed, nil)
}

// randomRuns stores some runs of sectors, clusters and larger ones: scattered,
// on block borders, and in rows of every second cluster.
func randomRuns(size int64, seed uint64) []run {
	rng := rand.New(rand.NewPCG(seed, uint64(size)))
	var runs []run
	add := func(start, length int64) {
		start = min(max(start, 0), size-1)
		runs = append(runs, run{start, min(start+length, size)})
	}
	for range 1 + rng.IntN(8) {
		at := rng.Int64N(size)
		switch rng.IntN(4) {
		case 0:
			add(at/512*512, 512*(1+rng.Int64N(300)))
		case 1:
			add(at/int64(Grain)*int64(Grain), int64(Grain)*(1+rng.Int64N(3)))
		case 2:
			add(roundUp(at, int64(Block))-512, 1024)
		case 3:
			for i := range int64(5) {
				add(at/int64(Grain)*int64(Grain)+2*i*int64(Grain), 4096)
			}
		}
	}
	return runs
}

// makeImage is New that must work.
func makeImage(t testing.TB, f Format, d Disk) Image {
	t.Helper()
	img, err := New(f, d, testID)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
