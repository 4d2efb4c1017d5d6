package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

// fillForRebuild commits n roots with chunks of their own and shared ones.
func fillForRebuild(t *testing.T, fsys vfs.FS, n int) map[string][]byte {
	t.Helper()
	if _, err := Create("/store", CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	s, err := Open("/store", Options{FS: fsys, PackSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	rnd := rand.NewChaCha8([32]byte{3})
	want := map[string][]byte{}
	for i := range n {
		ses, err := s.Begin(ctx, "fill")
		if err != nil {
			t.Fatal(err)
		}
		for k := range 12 {
			plain := make([]byte, 9000+k)
			rnd.Read(plain)
			id := s.ID(plain)
			if _, err := ses.Put(ctx, []pack.Record{s.Codec().Encode(nil, pack.KindData, id, plain)}); err != nil {
				t.Fatal(err)
			}
			want[string(id[:])] = plain
		}
		if err := ses.Commit(ctx, fmt.Sprintf("root-%02d", i), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		ses.Close()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// dumpIndex returns the index's entries of chunks, packs and roots.
func dumpIndex(t *testing.T, s *Store) (all []string) {
	t.Helper()
	it, err := s.index.NewIter(&pebble.IterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if strings.IndexByte("cpr", it.Key()[0]) >= 0 {
			all = append(all, fmt.Sprintf("%x=%x", it.Key(), it.Value()))
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

func openFor(t *testing.T, fsys vfs.FS, rebuild bool) (*Store, *RebuildReport) {
	t.Helper()
	var rep *RebuildReport
	opts := Options{FS: fsys, PackSize: 64 << 10}
	if rebuild {
		opts.Rebuild = func(r *RebuildReport) { rep = r }
	}
	s, err := Open("/store", opts)
	if err != nil {
		t.Fatal(err)
	}
	return s, rep
}

func checkAll(t *testing.T, s *Store, want map[string][]byte, where string) {
	t.Helper()
	for id, plain := range want {
		if got, err := s.Get(context.Background(), ID([]byte(id)), nil); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s: a chunk does not come back: %v", where, err)
		}
	}
}

// TestRebuildEqual: the index that is made from packs alone is the one that was
// there, also a second time, and the old one is set aside.
func TestRebuildEqual(t *testing.T) {
	mem := vfs.NewMem()
	want := fillForRebuild(t, mem, 6)
	s, _ := openFor(t, mem, false)
	before := dumpIndex(t, s)
	s.Close()
	for range 2 {
		s, rep := openFor(t, mem, true)
		if after := dumpIndex(t, s); !slices.Equal(before, after) {
			t.Fatalf("the index differs: %d and %d entries", len(before), len(after))
		}
		if rep.Roots != 6 || rep.Packs == 0 || len(rep.Broken)+len(rep.Lost)+len(rep.Kept)+rep.Double > 0 || rep.Aside == "" {
			t.Fatalf("%+v", rep)
		}
		checkAll(t, s, want, "rebuilt")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRebuildDamaged: what is left of damaged packs comes back, the rest is
// listed; a root whose record is lost is kept from the old index.
func TestRebuildDamaged(t *testing.T) {
	mem := vfs.NewMem()
	fillForRebuild(t, mem, 6)
	s, _ := openFor(t, mem, false)
	var data, meta []uint64
	if err := s.packs(context.Background(), func(n uint64, p packInfo) {
		if p.class == pack.ClassData {
			data = append(data, n)
		} else {
			meta = append(meta, n)
		}
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	path := func(n uint64) string { return "/store/packs/" + packName(n)[:2] + "/" + packName(n) }
	b := readAll(t, mem, path(data[0]))
	writeAll(t, mem, path(data[0]), b[:len(b)/2]) // no footer, no parity
	writeAll(t, mem, path(data[1]), nil)
	b = readAll(t, mem, path(meta[0]))
	clear(b)
	writeAll(t, mem, path(meta[0]), b)
	s, rep := openFor(t, mem, true)
	defer s.Close()
	if len(rep.Scanned) != 1 || rep.Scanned[0] != data[0] {
		t.Errorf("scanned: %x", rep.Scanned)
	}
	broken := map[uint64]bool{}
	for _, p := range rep.Broken {
		broken[p.Pack] = true
	}
	if len(broken) != 2 || !broken[data[1]] || !broken[meta[0]] {
		t.Errorf("broken: %+v", rep.Broken)
	}
	if len(rep.Kept) != 1 || rep.Roots != 5 {
		t.Errorf("%d roots from packs, kept %q", rep.Roots, rep.Kept)
	}
	n := 0
	if err := s.Roots(context.Background(), "", "", func(string, []byte) bool { n++; return true }); err != nil || n != 6 {
		t.Errorf("%d roots, %v", n, err)
	}
}

// TestRebuildTakesTheGoodRecord: of two records of a chunk the one that comes
// back is indexed, in whatever order their packs are read.
func TestRebuildTakesTheGoodRecord(t *testing.T) {
	for seed := range uint64(6) {
		mem := vfs.NewMem()
		want := fillForRebuild(t, mem, 2)
		s, _ := openFor(t, mem, false)
		var first uint64
		if err := s.packs(context.Background(), func(n uint64, p packInfo) {
			if p.class == pack.ClassData && first == 0 {
				first = n
			}
		}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		path := "/store/packs/" + packName(first)[:2] + "/" + packName(first)
		b := readAll(t, mem, path)
		for i := pack.HeaderLen; i < len(b)*7/10; i += 512 { // beyond parity; the footer stays
			b[i] ^= 1
		}
		writeAll(t, mem, path, b)
		s, _ = openFor(t, mem, false)
		if _, err := s.ProvePack(context.Background(), first, ProveOptions{Expect: NoPlaces}); err != nil {
			t.Fatal(err)
		}
		ses, err := s.Begin(context.Background(), "again")
		if err != nil {
			t.Fatal(err)
		}
		for _, plain := range want {
			if _, err := ses.Put(context.Background(), []pack.Record{s.Codec().Encode(nil, pack.KindData, s.ID(plain), plain)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := ses.Commit(context.Background(), "again", nil); err != nil {
			t.Fatal(err)
		}
		ses.Close()
		s.Close()
		s, rep := openFor(t, mem, true)
		if rep.Double == 0 {
			t.Fatal("no chunk has two records")
		}
		checkAll(t, s, want, fmt.Sprintf("seed %d", seed))
		s.Close()
	}
}

// TestCrashInRebuild crashes a rebuild before each of its writes, with none,
// half and all of what was not synced: the next Open, and the next rebuild, end
// with the same index.
func TestCrashInRebuild(t *testing.T) {
	mem := vfs.NewCrashableMem()
	want := fillForRebuild(t, mem, 3)
	s, _ := openFor(t, mem, false)
	before := dumpIndex(t, s)
	s.Close()
	var mu sync.Mutex // guards what follows
	var snaps []*vfs.MemFS
	armed := false
	rng := rand.New(rand.NewPCG(5, 5))
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if armed && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			percent := []int{0, 50, 100}[len(snaps)%3]
			snaps = append(snaps, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
		return nil
	}))
	armed = true
	s, _ = openFor(t, fsys, true)
	mu.Lock()
	armed = false
	mu.Unlock()
	s.Close()
	if len(snaps) < 20 {
		t.Fatalf("only %d crash images", len(snaps))
	}
	t.Logf("%d crash images", len(snaps))
	for i, c := range snaps {
		for _, again := range []bool{i%2 == 0, false} {
			s, _ := openFor(t, c, again)
			if after := dumpIndex(t, s); !slices.Equal(before, after) {
				t.Fatalf("crash %d: the index differs: %d and %d entries", i, len(before), len(after))
			}
			checkAll(t, s, want, fmt.Sprintf("crash %d", i))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestStaleIndex: an index of an older state of the packs, and packs of an older
// state than the index, are found at Open and remembered until a rebuild.
func TestStaleIndex(t *testing.T) {
	mem := vfs.NewMem()
	want := fillForRebuild(t, mem, 3)
	s, _ := openFor(t, mem, false)
	var some uint64
	if err := s.packs(context.Background(), func(n uint64, _ packInfo) { some = n }); err != nil {
		t.Fatal(err)
	}
	if s.Adopted().Stale {
		t.Fatal("a sound store is called stale")
	}
	s.Close()
	// Half of another state: one pack that the index knows is gone, one that it
	// does not know is there.
	path := "/store/packs/" + packName(some)[:2] + "/" + packName(some)
	b := readAll(t, mem, path)
	s, _ = openFor(t, mem, false)
	if err := s.forgetPack(some); err != nil {
		t.Fatal(err)
	}
	var other uint64
	if err := s.packs(context.Background(), func(n uint64, _ packInfo) { other = n }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	gone := "/store/packs/" + packName(other)[:2] + "/" + packName(other)
	keep := readAll(t, mem, gone)
	if err := mem.Remove(gone); err != nil {
		t.Fatal(err)
	}
	writeAll(t, mem, path, b)
	for range 2 { // also when it is opened again
		s, _ = openFor(t, mem, false)
		if !s.Adopted().Stale {
			t.Fatal("it is not found")
		}
		s.Close()
	}
	writeAll(t, mem, gone, keep)
	s, _ = openFor(t, mem, true)
	if s.Adopted().Stale {
		t.Fatal("it is stale after a rebuild")
	}
	checkAll(t, s, want, "rebuilt")
	s.Close()
}

func readAll(t *testing.T, fsys vfs.FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeAll(t *testing.T, fsys vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fsys.Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(bytes.Clone(b))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
