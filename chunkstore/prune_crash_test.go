package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// pruneWorkload writes versions, of which those named a are dropped by the
// prunes that run between and beside them.
func pruneWorkload(t *testing.T, s *Store, w *world) {
	t.Helper()
	for i := range 4 {
		w.mustWrite(t, s, fmt.Sprintf("%c%d", "ab"[i%2], i), i)
	}
	mustPrune(t, s, PruneOptions{Doomed: doom("a"), MaxUnused: 0.05})
	w.mustWrite(t, s, "b4", 0) // what was just freed
	w.mustWrite(t, s, "a5", 9)
	var wg sync.WaitGroup
	wg.Go(func() { w.mustWrite(t, s, "b6", 2) })
	mustPrune(t, s, PruneOptions{Doomed: doom("a")})
	wg.Wait()
}

// TestCrashAtEveryWriteOfAPrune crashes the store before each write, sync and
// rename of captures and prunes, with none, some and all of what was not synced
// on the disk. No version that is not doomed may be lost, the next prune ends
// what was begun, and what it frees stays away when the index is made anew.
func TestCrashAtEveryWriteOfAPrune(t *testing.T) {
	t.Logf("seed %d (-crash-seed)", *crashSeed)
	mem := vfs.NewCrashableMem()
	w := newTestWorld()
	rng := rand.New(rand.NewPCG(*crashSeed, 3))
	var mu sync.Mutex // guards snaps, rng and ops
	var snaps []snapshot
	ops := 0
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		// One image at each write, with another part of the unsynced data.
		ops++
		for i, percent := range []int{0, 50, 100} {
			if !*crashAll && (ops+i)%9 != 0 {
				continue
			}
			w.mu.Lock()
			committed := copySet(w.committed)
			w.mu.Unlock()
			c := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			w.mu.Lock()
			snaps = append(snaps, snapshot{c, committed, copySet(w.begun), fmt.Sprintf("write %d (%s), %d%% of the unsynced", ops, op.Path, percent)})
			w.mu.Unlock()
		}
		return nil
	}))
	s := newStore(t, fsys, 40<<10)
	pruneWorkload(t, s, w)
	mu.Lock()
	taken := snaps
	mu.Unlock()
	t.Logf("%d crash images of %d writes", len(taken), ops)
	if len(taken) < 60 {
		t.Fatalf("only %d crash images: the workload does not reach the writes", len(taken))
	}
	for _, c := range taken {
		checkPruneCrash(t, c)
	}
}

// keep takes the doomed versions out of what must be there.
func (c *snapshot) keep() *world {
	w := &world{committed: copySet(c.committed), begun: c.begun}
	for n := range w.committed {
		if n[0] == 'a' {
			delete(w.committed, n)
		}
	}
	return w
}

func checkPruneCrash(t *testing.T, c snapshot) {
	t.Helper()
	s, err := Open("/store", Options{FS: c.fs, PackSize: 40 << 10})
	if errors.Is(err, ErrNoStore) && len(c.begun) == 0 {
		return // crashed while the store was made
	}
	if err != nil {
		t.Fatalf("%s: %v", c.where, err)
	}
	defer func() { s.Close() }()
	w := c.keep()
	checkVersions(t, s, w.committed, w.begun, c.where) // a doomed one is there and whole, or not there
	if err := w.writeVersion(context.Background(), s, "later", 1); err != nil {
		t.Fatalf("%s: capture after the crash: %v", c.where, err)
	}
	if _, err := s.Prune(context.Background(), PruneOptions{Doomed: doom("a"), Walk: walkTest(s)}); err != nil {
		t.Fatalf("%s: prune after the crash: %v", c.where, err)
	}
	for n := range w.begun {
		if n[0] == 'a' {
			delete(w.begun, n)
		}
	}
	where := c.where + ", then a prune"
	checkVersions(t, s, w.committed, w.begun, where)
	checkClean(t, s, where)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("%s: close: %v", where, err)
		}
		if s, err = Open("/store", Options{FS: c.fs}); err != nil {
			t.Fatalf("%s: open again: %v", where, err)
		}
		checkVersions(t, s, w.committed, w.begun, where)
		if err := s.Close(); err != nil {
			t.Fatalf("%s: close: %v", where, err)
		}
		dropIndex(t, c.fs)
		where += ", with a new index"
		if s, err = Open("/store", Options{FS: c.fs}); err != nil {
			t.Fatalf("%s: open again: %v", where, err)
		}
	}
}

// checkClean proves that a prune came to its end.
func checkClean(t *testing.T, s *Store, where string) {
	t.Helper()
	for _, letter := range []byte{keyCondemned, keyWalked, keySeen, keyLooked, keyDropped, keyTrash} {
		n := 0
		if err := s.eachKey(context.Background(), letter, func(_, _ []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			t.Fatalf("%s: %d keys with %q are left", where, n, letter)
		}
	}
}

// TestFaultAtEveryWriteOfAPrune fails each write, sync, create and rename of a
// prune once, among the packs and the marks. Nothing is lost, and the next prune
// comes to its end.
func TestFaultAtEveryWriteOfAPrune(t *testing.T) {
	failed := 0
	for k := 0; ; k++ {
		cause := []error{syscall.ENOSPC, syscall.EIO}[k%2]
		mem := vfs.NewMem()
		var mu sync.Mutex // guards what follows
		n, hit, armed := 0, false, false
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			inIndex := len(op.Path) >= 12 && op.Path[:12] == "/store/index"
			if !armed || inIndex || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			if n++; n-1 == k {
				hit = true
				return cause
			}
			return nil
		}))
		s := newStore(t, fsys, 40<<10)
		w := newTestWorld()
		for i := range 4 {
			w.mustWrite(t, s, fmt.Sprintf("%c%d", "ab"[i%2], i), i)
		}
		mu.Lock()
		armed = true
		mu.Unlock()
		_, err := s.Prune(context.Background(), PruneOptions{Doomed: doom("a"), Walk: walkTest(s)})
		mu.Lock()
		armed = false
		mu.Unlock()
		w.forget("a")
		where := fmt.Sprintf("%v at write %d", cause, k)
		if err != nil {
			failed++
			if !errors.Is(err, cause) {
				t.Fatalf("%s: the error hides its cause: %v", where, err)
			}
		}
		checkVersions(t, s, w.committed, w.begun, where)
		if k%2 == 1 { // with another owner
			if err := s.Close(); err != nil {
				t.Fatalf("%s: close: %v", where, err)
			}
			if s, err = Open("/store", Options{FS: mem, PackSize: 40 << 10}); err != nil {
				t.Fatalf("%s: open: %v", where, err)
			}
			checkVersions(t, s, w.committed, w.begun, where+", opened again")
		}
		w.mustWrite(t, s, "b9", 0)
		mustPrune(t, s, PruneOptions{Doomed: doom("a")})
		checkVersions(t, s, w.committed, w.begun, where+", pruned again")
		checkClean(t, s, where+", pruned again")
		s.Close()
		if !hit {
			break
		}
	}
	if failed < 10 {
		t.Fatalf("only %d writes failed the prune", failed)
	}
}
