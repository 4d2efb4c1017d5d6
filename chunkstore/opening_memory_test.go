package chunkstore

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// TestOpeningTakesLittleMemoryAPack: what an opening takes of memory for each pack, garbage
// included, is little more than its name: a store of 50 million chunks has 31,000 packs, and
// a capture of a small disk should take what it takes in an empty store.
func TestOpeningTakesLittleMemoryAPack(t *testing.T) {
	const few, many, most = 1000, 9000, 88 // 81 it is
	each := (int64(comparingTakes(t, many)) - int64(comparingTakes(t, few))) / (many - few)
	if each > most {
		t.Errorf("an opening takes %d bytes a pack, %d at the most", each, most)
	}
}

// comparingTakes returns how many bytes a comparison of n packs with the index allocates.
// What Pebble takes to open and to read its blocks differs from run to run by more than the
// names of all packs, since its pools lose buffers: to the collector, to other processors and, under
// -race, by chance. So the least of several runs with the blocks at hand counts, on one processor and
// without the collector: they are equal but for what Pebble takes anew.
func comparingTakes(t *testing.T, n int) uint64 {
	t.Helper()
	mem := vfs.NewMem()
	newStore(t, mem, 64<<10).Close()
	s, err := Open("/store", Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.addEmptyPacks(t, n)
	if err := s.index.Flush(); err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := uint64(math.MaxUint64)
	for range 20 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := s.adopt()
		runtime.ReadMemStats(&after)
		if err != nil || len(s.adopted.Missing) > 0 || s.adopted.Unknown > 0 {
			t.Fatalf("the packs are not those of the index: %+v, %v", s.adopted, err)
		}
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// addEmptyPacks makes the index know n packs, of which there are files without anything
// in them.
func (s *Store) addEmptyPacks(t *testing.T, n int) {
	t.Helper()
	b := s.index.NewBatch()
	for i := range uint64(n) {
		n := i * 0x9e3779b97f4a7c15
		if err := b.Set(packKey(n), packInfo{class: pack.ClassData}.append(nil), nil); err != nil {
			t.Fatal(err)
		}
		name := packName(n)
		dir := s.fs.PathJoin(s.dir, "packs", name[:2])
		if err := s.fs.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeAll(t, s.fs, s.fs.PathJoin(dir, name), nil)
	}
	if err := s.commitPacks(b, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
}

// TestPackNames: a pack's name is read back, and no other name is taken for one.
func TestPackNames(t *testing.T) {
	for _, n := range []uint64{0, 1, 0xabcdef, 1 << 63, 1<<64 - 1} {
		if got, ok := parsePackName(packName(n)); !ok || got != n {
			t.Errorf("%s: %x, %v", packName(n), got, ok)
		}
	}
	for _, name := range []string{
		"", ".pack", "0", "0000000000abcdef", "000000000abcdef.pack", "00000000000abcdef.pack", "0000000000ABCDEF.pack", "0000000000abcdeF.pack",
		"0000000000abcdeg.pack", "+000000000abcdef.pack", "0x00000000abcdef.pack", "0_00000000abcdef.pack", " 000000000abcdef.pack",
		"0000000000abcdef.PACK", "0000000000abcdef.pack.", "00000000000abcd\u00ef.pack",
	} {
		if n, ok := parsePackName(name); ok {
			t.Errorf("%q is taken for pack %x", name, n)
		}
	}
}
