package heal

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore"
)

var crashAll = flag.Bool("crash-all", false, "check every crash image, not a fifth of them")

// TestCrashAtEveryStepOfRepair crashes a repair before each of its writes, with
// none, half and all of what was not synced on the disk. What could be read
// before can be read after, and the next repair ends right.
func TestCrashAtEveryStepOfRepair(t *testing.T) {
	t.Logf("seed %d (-heal-seed)", *seed)
	w := newWorld(t)
	mem := vfs.NewCrashableMem()
	w.put(t, mem)
	rng := rand.New(rand.NewPCG(*seed, 3))
	for i, path := range w.packs() {
		if i%3 == 2 {
			continue // some packs stay whole
		}
		b := append([]byte(nil), w.files[path]...)
		b[len(b)/3] ^= 8
		writeFile(t, mem, path, b)
	}
	type snapshot struct {
		fs    *vfs.MemFS
		where string
	}
	var mu sync.Mutex // guards what follows
	var snaps []snapshot
	armed := false
	n := 0
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if armed {
			percent := []int{0, 50, 100}[n%3]
			n++
			snaps = append(snaps, snapshot{mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), op.Path})
		}
		return nil
	}))
	s := openWorld(t, fsys)
	arm := func(on bool) { mu.Lock(); armed = on; mu.Unlock() }
	arm(true)
	rep := mustScrub(t, s, Options{Repair: true}, "repair")
	arm(false)
	if rep.Left.Exists() || len(rep.Repairs) < 5 {
		t.Fatalf("the repair itself: %s", describe(rep))
	}
	w.whole(t, s, "after the repair")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crash images", len(snaps))
	if len(snaps) < 40 {
		t.Fatalf("only %d crash images", len(snaps))
	}
	for i, c := range snaps {
		if !*crashAll && i%5 != 0 {
			continue
		}
		w.afterCrash(t, c.fs, "crash before a write of "+c.where)
	}
}

func (w *world) afterCrash(t *testing.T, fsys vfs.FS, where string) {
	t.Helper()
	s := openWorld(t, fsys)
	defer s.Close()
	if failed := w.read(t, s, where); len(failed) > 0 {
		t.Fatalf("%s: can't be read: %v", where, failed)
	}
	if rep := mustScrub(t, s, Options{Repair: true}, where); rep.Left.Exists() || len(rep.RepairErrors) > 0 {
		t.Fatalf("%s: the next repair: %s", where, describe(rep))
	}
	w.whole(t, s, where)
}

// TestFailedWritesOfRepair fails each write among the packs once. The repair
// says so, nothing is lost, and the next one ends right.
func TestFailedWritesOfRepair(t *testing.T) {
	w := newWorld(t)
	errFull := errors.New("no space left on device")
	for k := 0; ; k++ {
		mem := vfs.NewMem()
		w.put(t, mem)
		path := w.packs()[len(w.packs())-1]
		b := append([]byte(nil), w.files[path]...)
		b[len(b)/2] ^= 1
		writeFile(t, mem, path, b)
		n, hit, armed := 0, false, false
		var mu sync.Mutex // guards them
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			inPacks := len(op.Path) > 7 && (op.Path[:7] == "/store/") && op.Path[7] != 'i'
			if !armed || !inPacks || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			n++
			if n-1 != k {
				return nil
			}
			hit = true
			return errFull
		}))
		s := openWorld(t, fsys)
		mu.Lock()
		armed = true
		mu.Unlock()
		rep := mustScrub(t, s, Options{Repair: true}, "full disk")
		mu.Lock()
		armed = false
		mu.Unlock()
		if failed := w.read(t, s, "full disk"); len(failed) > 0 {
			t.Fatalf("write %d failed: can't be read: %v", k, failed)
		}
		if hit && len(rep.RepairErrors) == 0 {
			t.Fatalf("write %d failed and nobody was told", k)
		}
		mustScrub(t, s, Options{Repair: true}, "next")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		w.afterCrash(t, mem, "after a full disk")
		if !hit {
			if k < 5 {
				t.Fatalf("only %d writes", k)
			}
			return
		}
	}
}

// TestUnreadableIsNoDamage: I/O errors are told apart, leave no damage behind
// once they are over, and never make a chunk absent.
func TestUnreadableIsNoDamage(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	path := w.packs()[len(w.packs())-1]
	var mu sync.Mutex // guards broken
	broken := false
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Path == path && op.Kind == errorfs.OpFileReadAt {
			return errors.New("input/output error")
		}
		return nil
	}))
	s := openWorld(t, fsys)
	defer s.Close()
	mu.Lock()
	broken = true
	mu.Unlock()
	rep := mustScrub(t, s, Options{Repair: true}, "broken")
	if len(rep.Repairs) > 0 || len(rep.Left.Chunks) == 0 || rep.Clean() {
		t.Fatalf("with I/O errors: %s", describe(rep))
	}
	for _, c := range rep.Left.Chunks {
		if c.Kind != "unreadable" {
			t.Fatalf("an I/O error is called %s", c.Kind)
		}
	}
	if s.Distrust() {
		t.Fatal("unreadable chunks count as damaged")
	}
	if st, err := State(s, "vm", w.versions[0].id); err != nil || st.State == chunkstore.Hurt {
		t.Fatalf("a version is %v, %v", st.State, err)
	}
	w.named(t, w.read(t, s, "broken"), &rep.Left, "broken")
	mu.Lock()
	broken = false
	mu.Unlock()
	w.whole(t, s, "the medium answers again")
}

// TestScrubGoesOn stops a scrub and lets the next one pass over what is proved.
func TestScrubGoesOn(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	p := new(Progress)
	go func() {
		for p.Done.Load() < 2<<20 && ctx.Err() == nil {
		}
		cancel()
	}()
	if _, err := Scrub(ctx, s, Options{Rate: 20 << 20, Progress: p}); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped scrub: %v", err)
	}
	if _, err := Hurt(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	rep := mustScrub(t, s, Options{OlderThan: 1 << 40}, "second")
	if rep.Skipped == 0 || rep.Packs == 0 || rep.Left.Exists() {
		t.Fatalf("passed over %d packs and proved %d; %s", rep.Skipped, rep.Packs, describe(rep))
	}
	rep = mustScrub(t, s, Options{OlderThan: 1 << 40}, "third")
	if rep.Packs != 0 {
		t.Fatalf("%d packs were proved again", rep.Packs)
	}
	w.whole(t, s, "after all")
}
