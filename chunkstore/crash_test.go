package chunkstore

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

var (
	crashSeed = flag.Uint64("crash-seed", 1, "seed of the crash tests")
	crashAll  = flag.Bool("crash-all", false, "check every crash image, not a third of them")
)

// world is the oracle of a workload: which roots were committed, which were
// only begun, and the plain bytes of every chunk.
type world struct {
	mu        sync.Mutex
	committed map[string]bool
	begun     map[string]bool
}

// writeVersion puts chunks and a map that names them, and commits a root that
// names the map. Seeds of versions overlap so that versions share chunks.
func (w *world) writeVersion(ctx context.Context, s *Store, name string, seed int) error {
	ses, err := s.Begin(ctx, name)
	if err != nil {
		return err
	}
	defer ses.Close()
	var ids []byte
	for i := range 12 {
		n := seed*6 + i
		plain := chunkOf(uint64(n+1), 9000+n%12)
		rec := record(s, pack.KindData, plain)
		if _, err := ses.Put(ctx, []pack.Record{rec}); err != nil {
			return err
		}
		ids = append(ids, rec.ID[:]...)
	}
	m := record(s, pack.KindRegionMap, ids)
	if _, err := ses.Put(ctx, []pack.Record{m}); err != nil {
		return err
	}
	w.mu.Lock()
	w.begun[name] = true
	w.mu.Unlock()
	if err := ses.Commit(ctx, name, []byte(m.ID.String())); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed[name] = true
	return nil
}

// checkVersions proves the promise: every committed root is visible, every
// visible root was begun, and all below a visible root reads back.
func checkVersions(t *testing.T, s *Store, committed, begun map[string]bool, where string) {
	t.Helper()
	visible := map[string]string{}
	if err := s.Roots(context.Background(), "", "", func(n string, b []byte) bool { visible[n] = string(b); return true }); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	for n := range committed {
		if _, ok := visible[n]; !ok {
			t.Fatalf("%s: committed root %s is lost", where, n)
		}
	}
	for n, body := range visible {
		if !begun[n] {
			t.Fatalf("%s: root %s was never committed", where, n)
		}
		id, err := pack.ParseID(body)
		if err != nil {
			t.Fatalf("%s: root %s: %v", where, n, err)
		}
		ids, err := s.Get(context.Background(), id, nil)
		if err != nil {
			t.Fatalf("%s: map of %s: %v", where, n, err)
		}
		for ; len(ids) > 0; ids = ids[32:] {
			if _, err := s.Get(context.Background(), ID(ids[:32]), nil); err != nil {
				t.Fatalf("%s: chunk %s of %s: %v", where, hex.EncodeToString(ids[:4]), n, err)
			}
		}
	}
}

// snapshot is a crash image with what was promised when it was taken.
type snapshot struct {
	fs               *vfs.MemFS
	committed, begun map[string]bool
	where            string
}

func copySet(m map[string]bool) map[string]bool {
	c := map[string]bool{}
	for k := range m {
		c[k] = true
	}
	return c
}

// TestCrashAtEveryWrite crashes the store before each of its writes, syncs and
// renames, with none, some and all of what was not synced on the disk.
func TestCrashAtEveryWrite(t *testing.T) {
	t.Logf("seed %d (-crash-seed)", *crashSeed)
	mem := vfs.NewCrashableMem()
	w := &world{committed: map[string]bool{}, begun: map[string]bool{}}
	rng := rand.New(rand.NewPCG(*crashSeed, 2))
	var mu sync.Mutex // guards snaps, rng and ops
	var snaps []snapshot
	ops := 0
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		ops++
		// What is committed now must survive: taken before the clone.
		w.mu.Lock()
		committed := copySet(w.committed)
		w.mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			c := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			w.mu.Lock()
			snaps = append(snaps, snapshot{c, copySet(committed), copySet(w.begun), fmt.Sprintf("write %d (%s), %d%% of the unsynced", ops, op.Path, percent)})
			w.mu.Unlock()
		}
		return nil
	}))
	s := newStore(t, fsys, 40<<10)
	for i := range 3 {
		if err := w.writeVersion(context.Background(), s, fmt.Sprint("v", i), i); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if err := w.writeVersion(context.Background(), s, fmt.Sprint("parallel", i), 20+i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mu.Lock()
	taken := snaps
	mu.Unlock()
	t.Logf("%d crash images", len(taken))
	if len(taken) < 150 {
		t.Fatalf("only %d crash images: the workload does not reach the writes", len(taken))
	}
	for i, c := range taken {
		// Three images are taken at each write; a different one of them is
		// checked from write to write.
		if *crashAll || i%3 == i/3%3 {
			checkCrash(t, c)
		}
	}
}

// checkCrash opens a crash image twice: after the crash, and after a capture
// that follows it.
func checkCrash(t *testing.T, c snapshot) {
	t.Helper()
	s, err := Open("/store", Options{FS: c.fs, PackSize: 40 << 10})
	if errors.Is(err, ErrNoStore) && len(c.begun) == 0 {
		return // crashed while the store was made
	}
	if err != nil {
		t.Fatalf("%s: %v", c.where, err)
	}
	checkVersions(t, s, c.committed, c.begun, c.where)
	w := &world{committed: c.committed, begun: c.begun}
	if err := w.writeVersion(context.Background(), s, "after", 1); err != nil {
		t.Fatalf("%s: capture after the crash: %v", c.where, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: close: %v", c.where, err)
	}
	if s, err = Open("/store", Options{FS: c.fs}); err != nil {
		t.Fatalf("%s: open again: %v", c.where, err)
	}
	checkVersions(t, s, w.committed, w.begun, c.where+", then a capture")
	if a := s.Adopted(); a.Unknown+a.Finished+len(a.Missing)+len(a.Broken) != 0 {
		t.Fatalf("%s: a clean close left %+v", c.where, a)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: close: %v", c.where, err)
	}
}

// TestFullDiskAtEveryWrite fails each write, sync, create and rename among the
// packs once with ENOSPC. The version that meets it fails, nothing that was
// committed is lost, and the next try succeeds.
func TestFullDiskAtEveryWrite(t *testing.T) {
	failed := 0
	for k := 0; ; k++ {
		mem := vfs.NewMem()
		n, hit := 0, false
		var armed bool
		var mu sync.Mutex
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if !armed || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || !strings.HasPrefix(op.Path, "/store/packs") {
				return nil
			}
			n++
			if n-1 == k {
				hit = true
				return syscall.ENOSPC
			}
			return nil
		}))
		s := newStore(t, fsys, 40<<10)
		w := &world{committed: map[string]bool{}, begun: map[string]bool{}}
		if err := w.writeVersion(context.Background(), s, "first", 1); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		armed = true
		mu.Unlock()
		err := w.writeVersion(context.Background(), s, "second", 7)
		mu.Lock()
		armed = false
		mu.Unlock()
		if !hit {
			break
		}
		if err != nil {
			failed++
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("write %d: the error hides its cause: %v", k, err)
			}
			w.begun = map[string]bool{"first": true} // a failed capture leaves no version
		}
		checkVersions(t, s, w.committed, w.begun, fmt.Sprint("full disk at write ", k))
		if err := w.writeVersion(context.Background(), s, "third", 7); err != nil {
			t.Fatalf("write %d: next try: %v", k, err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("write %d: close: %v", k, err)
		}
		if s, err = Open("/store", Options{FS: mem}); err != nil {
			t.Fatalf("write %d: open: %v", k, err)
		}
		checkVersions(t, s, w.committed, w.begun, fmt.Sprint("after a full disk at write ", k))
		s.Close()
	}
	if failed < 10 {
		t.Fatalf("only %d writes failed the capture", failed)
	}
}
