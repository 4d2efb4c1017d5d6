package fs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/disk"
)

// TestStrewnReadsLoadMaps: a few reads that belong to no stream bring the maps of the
// whole disk, and one less does not.
func TestStrewnReadsLoadMaps(t *testing.T) {
	const regions = 12
	s := newStore(t)
	c := newContent("vda", regions*disk.RegionSize, 5)
	v := commit(t, s, "web", day, c)
	m := mountTest(t, s, Options{NoPush: true})
	f, err := os.Open(rawPath(m, v, "vda"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	read := func(i int) {
		if _, err := f.ReadAt(b, int64(2*(manyStrewn-i))<<12); err != nil {
			t.Fatal(err)
		}
	}
	for i := range manyStrewn - 1 {
		read(i)
	}
	before := s.gets.Load()
	if before >= regions {
		t.Fatalf("%d chunks for %d reads of one region", before, manyStrewn-1)
	}
	read(manyStrewn - 1)
	waitFor(t, "the maps of the other regions", func() bool { return s.gets.Load() >= before+regions-2 })
}

// TestMountWarmsItsStore: once, and before anybody reads.
func TestMountWarmsItsStore(t *testing.T) {
	s := newStore(t)
	mountTest(t, s, Options{})
	if n := s.warms.Load(); n != 1 {
		t.Errorf("warmed %d times", n)
	}
}
