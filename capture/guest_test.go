package capture

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/layout"
	"holdfast/fs/guest/volume"
)

// TestCells: whatever the cuts, cells cover the region, none is longer than a
// chunk and there are no more than a region map can hold; and every cut is one
// of theirs, unless there are too many.
func TestCells(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, length := range []int{1, 512, 4096, 65535, 65536, 65537, disk.RegionSize - 512, disk.RegionSize} {
		for _, step := range []int{512, 4096, 8192 - 512, 40_000, 200_000} {
			for range 20 {
				var cuts []int64
				for at := 512 * (1 + rnd.IntN(8)); at < length; at += 512 * (1 + rnd.IntN(step/512)) {
					cuts = append(cuts, int64(at))
				}
				got := cells([]int{7}, cuts, length)[1:]
				last := 0
				for _, end := range got {
					if end <= last || end-last > pack.MaxChunk {
						t.Fatalf("a cell from %d to %d of %d", last, end, length)
					}
					last = end
				}
				if last != length || len(got) > disk.MaxExtents {
					t.Fatalf("%d cells of %d cuts end at %d of %d", len(got), len(cuts), last, length)
				}
				for _, c := range cuts {
					if _, ok := slices.BinarySearch(got, int(c)); !ok && len(cuts)+70 < disk.MaxExtents {
						t.Fatalf("no cell ends at cut %d", c)
					}
				}
			}
		}
	}
}

// TestWithout subtracts ranges from spans, byte by byte.
func TestWithout(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		const size, base = 200, 1000
		var out []guest.Range
		want := make([]bool, size)
		for at := rnd.IntN(30); at < size; at += 1 + rnd.IntN(30) {
			n := min(1+rnd.IntN(20), size-at)
			out = append(out, guest.Range{Offset: int64(base + at), Length: int64(n)})
			at += n
		}
		s := span{rnd.IntN(size / 2), size/2 + rnd.IntN(size/2)}
		for i := s.from; i < s.to; i++ {
			want[i] = true
		}
		for _, r := range out {
			for i := range r.Length {
				want[r.Offset-base+i] = false
			}
		}
		got := make([]bool, size)
		for _, p := range without(nil, s, out, base) {
			if p.from >= p.to {
				t.Fatalf("an empty part %v", p)
			}
			for i := p.from; i < p.to; i++ {
				got[i] = true
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v without %v", s, out)
		}
	}
}

// guestImage is a filesystem with files and much that was deleted.
func guestImage(t *testing.T) []byte {
	t.Helper()
	image := guesttest.Mkfs(t, 40<<20, "mkfs.ext4", "-q", "-F", "-b", "4096")
	guesttest.Mounted(t, image, func(dir string) {
		guesttest.Run(t, "sh", "-c", `cd "$1" && for i in $(seq 200); do head -c $((i * 700)) /dev/urandom >f$i; done
			head -c 3M /dev/urandom >big; sync -f .; rm f*[05]; sync -f .`, "sh", dir)
	})
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func plainDisk(b []byte) *memDisk {
	return &memDisk{b: b, extents: []source.Extent{{Length: int64(len(b)), Data: true}}}
}

// TestGuestsDisk captures a filesystem with any number of workers, and from
// sources with and without holes: the same map each time. What reads back is the
// source, but for zeros where the layout says that nothing is.
func TestGuestsDisk(t *testing.T) {
	b := guestImage(t)
	f := newFixture(t)
	l, err := layout.Scan(t.Context(), []volume.Disk{{Name: "a", Volume: bytes.NewReader(b)}}, LayoutOptions([]string{"free", "swap"}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := bytes.Clone(b)
	var left int64
	for _, r := range l.Out(nil, "a", 0, int64(len(b))) {
		clear(want[r.Offset : r.Offset+r.Length])
		left += r.Length
	}
	if bytes.Equal(b, want) || left == 0 {
		t.Fatal("the guest has deleted nothing")
	}
	holes := plainDisk(b)
	holes.extents, holes.lax = nil, true
	for off := 0; off < len(b); off += 4096 {
		holes.extents = append(holes.extents, source.Extent{Length: 4096, Data: !isZero(b[off : off+4096])})
	}
	var first disk.Map
	for i, c := range []struct {
		d       *memDisk
		workers int
	}{{plainDisk(b), 1}, {plainDisk(b), 3}, {plainDisk(b), 24}, {holes, 2}} {
		o := options(fmt.Sprint("vm", i), i, c.d)
		o.Workers = c.workers
		v, err := Run(context.Background(), f.store, o)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = v.Disks[0].Map
			if v.Counts.LeftOutBytes != left {
				t.Errorf("left out %d bytes, want %d", v.Counts.LeftOutBytes, left)
			}
		}
		if v.Disks[0].Map != first || v.Cut != "files" || strings.Join(v.LeftOut, " ") != "free swap" {
			t.Errorf("%d workers: %+v", c.workers, v)
		}
		if c := v.Counts; c.ReadBytes+c.HoleBytes+c.LeftOutBytes != c.LogicalBytes {
			t.Errorf("counts %+v", c)
		}
		f.check(v, plainDisk(want))
	}
	o := options("kept", 9, plainDisk(b))
	o.KeepFree, o.KeepSwap = true, true
	v, err := Run(context.Background(), f.store, o)
	if err != nil {
		t.Fatal(err)
	}
	if v.Counts.LeftOutBytes != 0 || len(v.LeftOut) > 0 {
		t.Errorf("all was to be kept: %+v", v)
	}
	f.check(v, plainDisk(b))
}

// TestMovedFilesCostNothing: the same filesystem elsewhere on a disk, and one
// whose files were moved, store hardly more than maps and metadata.
func TestMovedFilesCostNothing(t *testing.T) {
	b := guestImage(t)
	f := newFixture(t)
	f.capture("vm", 1, plainDisk(b))
	moved := append(make([]byte, 3<<20+4096), b...)
	copy(moved[446:], "\x00\x00\x02\x00\x83\x00\x00\x00\x08\x18\x00\x00\x00\x40\x01\x00") // one partition from sector 0x1808 on
	copy(moved[510:], "\x55\xaa")
	v := f.capture("vm", 2, plainDisk(moved))
	if data := v.Disks[0].Map.DataBytes; v.Counts.NewBytes > data/10 {
		t.Errorf("%d new bytes of %d after a move", v.Counts.NewBytes, data)
	}
}

// TestHostileDisk: a capture does not fail whatever a filesystem says, and
// keeps what it can't judge.
func TestHostileDisk(t *testing.T) {
	b := guestImage(t)
	f := newFixture(t)
	rnd := rand.New(rand.NewPCG(3, 3))
	for i := range guesttest.Rounds(t, 15) {
		m := bytes.Clone(b)
		for range 1 + rnd.IntN(200) {
			m[1024+rnd.IntN(1<<20)] ^= byte(1 << rnd.IntN(8))
		}
		o := options("vm", i, plainDisk(m))
		v, err := Run(context.Background(), f.store, o)
		if err != nil {
			t.Fatal(err)
		}
		if v.Counts.LeftOutBytes == 0 {
			f.check(v, plainDisk(m))
		}
	}
	if ids, err := catalog.IDs(t.Context(), f.store, "vm"); err != nil || len(ids) == 0 {
		t.Errorf("%v, %v", ids, err)
	}
}
