package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// newStore makes a store in memory and closes it at the end of the test.
func newStore(t *testing.T, fsys vfs.FS, packSize int64) *Store {
	t.Helper()
	if _, err := Create("/store", CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	return openStore(t, fsys, packSize)
}

func openStore(t *testing.T, fsys vfs.FS, packSize int64) *Store {
	t.Helper()
	s, err := Open("/store", Options{FS: fsys, PackSize: packSize})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkTotals(t, s)
		if _, hurt := hurtStores.Load(fsys); !hurt {
			checkStore(t, s)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// hurtStores are the filesystems of which a test has hurt the store, so that its
// invariants need not hold.
var hurtStores sync.Map

// checkStore proves the invariants of a store that is still open.
func checkStore(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed || t.Failed() {
		return
	}
	r, err := Check(context.Background(), s, CheckOptions{})
	if err != nil {
		t.Errorf("check: %v", err)
		return
	}
	for _, p := range r.Problems {
		t.Errorf("check: %v", p)
	}
}

// checkTotals holds what the store keeps of its packs together against their entries.
func checkTotals(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return
	}
	s.totals.mu.Lock()
	defer s.totals.mu.Unlock()
	valid, kept := s.totals.valid, s.totals.packSums
	if err := s.countPacks(func(uint64) {}); err != nil {
		t.Errorf("count packs: %v", err)
	} else if valid && kept != s.totals.packSums {
		t.Errorf("the totals are %+v, of the entries %+v", kept, s.totals.packSums)
	}
}

// chunkOf returns a chunk of n bytes, half of it compressible, fixed by seed.
func chunkOf(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1})
	r.Read(b[:n/2])
	for i := n / 2; i < n; i++ {
		b[i] = byte(seed)
	}
	if n > 0 && n < 8 {
		b[0] = byte(seed)
	}
	return b
}

func record(s *Store, kind pack.Kind, plain []byte) pack.Record {
	return s.Codec().Encode(nil, kind, s.ID(plain), plain)
}

func begin(t *testing.T, s *Store) Session {
	t.Helper()
	ses, err := s.Begin(context.Background(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ses.Close() })
	return ses
}

func mustPut(t *testing.T, s *Store, ses Session, kind pack.Kind, plain []byte) ID {
	t.Helper()
	rec := record(s, kind, plain)
	if _, err := ses.Put(context.Background(), []pack.Record{rec}); err != nil {
		t.Fatal(err)
	}
	return rec.ID
}

func mustGet(t *testing.T, s *Store, id ID, want []byte) {
	t.Helper()
	got, err := s.Get(context.Background(), id, nil)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("get %v: other bytes", id)
	}
}

func TestPutGetAcrossPacksAndOpens(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 300<<10)
	ses := begin(t, s)
	var want [][]byte
	for i, n := range []int{1, 2, 4095, 4096, 65535, 65536, 65536, 30000, 65536, 65536, 65536, 65536, 65536, 65536, 1000} {
		plain := chunkOf(uint64(i+1), n)
		want = append(want, plain)
		mustPut(t, s, ses, pack.KindData, plain)
		for _, w := range want { // all of them, wherever they lie by now
			mustGet(t, s, s.ID(w), w)
		}
	}
	if err := ses.Commit(context.Background(), "a", []byte("body")); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(context.Background())
	if err != nil || st.Packs < 3 || st.Chunks != int64(len(want))+1 || st.Roots != 1 {
		t.Fatalf("stats %+v, %v", st, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fsys, 0)
	for _, w := range want {
		mustGet(t, s, s.ID(w), w)
	}
	if b, err := s.Root(context.Background(), "a"); err != nil || string(b) != "body" {
		t.Fatalf("root: %q, %v", b, err)
	}
	if a := s.Adopted(); a.Unknown+a.Finished+len(a.Missing)+len(a.Broken) != 0 {
		t.Fatalf("after a clean close: %+v", a)
	}
}

func TestPutStoresOnce(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	ses := begin(t, s)
	rec := record(s, pack.KindData, chunkOf(7, 50000))
	other := record(s, pack.KindRegionMap, chunkOf(8, 500))
	res, err := ses.Put(context.Background(), []pack.Record{rec, rec, other, rec})
	if err != nil || res.Records != 2 || res.PlainBytes != 50500 {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := ses.Commit(context.Background(), "x", nil); err != nil {
		t.Fatal(err)
	}
	if res, err = ses.Put(context.Background(), []pack.Record{rec, other}); err != nil || res.Records != 0 {
		t.Fatalf("second put: %+v, %v", res, err)
	}
	have := make([]bool, 2)
	if err := ses.Has(context.Background(), []ID{rec.ID, {1}}, have); err != nil || !have[0] || have[1] {
		t.Fatalf("has: %v, %v", have, err)
	}
}

func TestRootsAreOrderedAndTakenOnce(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	ses := begin(t, s)
	for _, n := range []string{"b/2", "a/1", "b/1", "c", "b\xff"} {
		if err := ses.Commit(context.Background(), n, []byte("of "+n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := ses.Commit(context.Background(), "c", nil); !errors.Is(err, ErrRootExists) {
		t.Fatalf("second commit of a name: %v", err)
	}
	var got []string
	collect := func(name string, body []byte) bool {
		if string(body) != "of "+name {
			t.Errorf("root %q has body %q", name, body)
		}
		got = append(got, name)
		return len(got) < 3
	}
	if err := s.Roots(context.Background(), "b", "b/2", collect); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%q", got) != `["b/2" "b\xff"]` {
		t.Fatalf("from b/2: %q", got)
	}
	if _, err := s.Root(context.Background(), "nope"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("absent root: %v", err)
	}
	for _, bad := range []string{"", string(make([]byte, MaxRootName+1))} {
		if err := ses.Commit(context.Background(), bad, nil); err == nil {
			t.Errorf("name of %d bytes was taken", len(bad))
		}
	}
	if err := ses.Commit(context.Background(), "big", make([]byte, MaxRootBody+1)); err == nil {
		t.Error("a body over the limit was taken")
	}
}

func TestIndexIsRebuiltFromPacks(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 200<<10)
	ses := begin(t, s)
	var want [][]byte
	for v := range 5 {
		for i := range 10 {
			plain := chunkOf(uint64(v*100+i), 40000)
			want = append(want, plain)
			mustPut(t, s, ses, pack.KindData, plain)
		}
		mustPut(t, s, ses, pack.KindRegionMap, chunkOf(uint64(v+9000), 3000))
		if err := ses.Commit(context.Background(), fmt.Sprint("v", v), []byte(fmt.Sprint("body ", v))); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := s.Stats(context.Background())
	ses.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fsys.RemoveAll("/store/index"); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fsys, 0)
	after, _ := s.Stats(context.Background())
	before.IndexBytes, after.IndexBytes, before.OpenSessions = 0, 0, 0
	if before != after {
		t.Errorf("stats before %+v, after %+v", before, after)
	}
	for _, w := range want {
		mustGet(t, s, s.ID(w), w)
	}
	for v := range 5 {
		if b, err := s.Root(context.Background(), fmt.Sprint("v", v)); err != nil || string(b) != fmt.Sprint("body ", v) {
			t.Errorf("root v%d: %q, %v", v, b, err)
		}
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	fsys := vfs.NewMem()
	cfg, err := Create("/store", CreateOptions{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	cfg.FormatVersion = FormatVersion + 1
	for _, n := range []string{configName, configCopy} {
		if err := writeConfig(fsys, "/store", n, cfg); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Open("/store", Options{FS: fsys})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("use a newer holdfast")) {
		t.Fatalf("open: %v", err)
	}
	if _, err := Open("/elsewhere", Options{FS: fsys}); !errors.Is(err, ErrNoStore) {
		t.Fatalf("no store: %v", err)
	}
	if _, err := Create("/store", CreateOptions{FS: fsys}); !errors.Is(err, ErrStoreExists) {
		t.Fatalf("create twice: %v", err)
	}
}
