package heal

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// twoDisks are the disks of a store and of its replica. Power fails for both at
// the same moment.
type twoDisks struct {
	a, b *vfs.MemFS
	rng  *rand.Rand

	mu    sync.Mutex // guards what follows
	armed bool
	n     int
	every int // of how many writes one is a crash
	snaps []twoCrashed
}

type twoCrashed struct {
	a, b  *vfs.MemFS
	where string
}

// watch returns the disks; while armed they note a crash before their writes.
func (d *twoDisks) watch(name string, mem *vfs.MemFS) vfs.FS {
	return errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.armed {
			return nil
		}
		d.n++
		if d.n%d.every == 0 {
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[len(d.snaps)%3], RNG: d.rng}
			d.snaps = append(d.snaps, twoCrashed{d.a.CrashClone(cfg), d.b.CrashClone(cfg), name + " " + op.Path})
		}
		return nil
	}))
}

func (d *twoDisks) arm(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = on
}

// newTwoDisks puts the world on one disk and an empty replica, or a full one, on
// the other.
func newTwoDisks(t testing.TB, w *world, full bool, every int) *twoDisks {
	t.Helper()
	if *crashAll {
		every = 1
	}
	d := &twoDisks{a: vfs.NewCrashableMem(), b: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(*seed, 5)), every: every}
	w.put(t, d.a)
	if full {
		replicaOf(t, w).put(t, d.b)
		return d
	}
	src := openWorld(t, d.a)
	newReplica(t, d.b, src)
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// visibleWhole checks that each version that a store shows reads as it should.
func (w *world) visibleWhole(t testing.TB, s *chunkstore.Store, where string) (shown int) {
	t.Helper()
	part := &world{}
	for _, c := range w.versions {
		if _, err := catalog.Get(context.Background(), s, c.vm, c.id); err == nil {
			part.versions = append(part.versions, c)
		} else if !errors.Is(err, catalog.ErrNoVersion) {
			t.Fatalf("%s: %v", where, err)
		}
	}
	if failed := part.read(t, s, where); len(failed) > 0 {
		t.Fatalf("%s: shown and can't be read: %v", where, failed)
	}
	return len(part.versions)
}

// TestCrashAtEveryStepOfReplicate crashes both disks before writes of either.
// What the replica shows then reads whole, and the next run ends right.
func TestCrashAtEveryStepOfReplicate(t *testing.T) {
	t.Logf("seed %d (-heal-seed)", *seed)
	w := newWorld(t)
	d := newTwoDisks(t, w, false, 15)
	src, dst := openWorld(t, d.watch("store", d.a)), openWorld(t, d.watch("replica", d.b))
	d.arm(true)
	mustReplicate(t, src, dst, ReplicateOptions{}, "under crashes")
	d.arm(false)
	closeBoth(t, src, dst)
	t.Logf("%d writes, %d crash images", d.n, len(d.snaps))
	if len(d.snaps) < 5 {
		t.Fatalf("only %d crash images", len(d.snaps))
	}
	for _, c := range d.snaps {
		src, dst := openWorld(t, c.a), openWorld(t, c.b)
		w.visibleWhole(t, dst, c.where)
		if rep := mustReplicate(t, src, dst, ReplicateOptions{}, c.where); rep.Copied+rep.There != len(w.versions) {
			t.Fatalf("%s: the next run: %+v", c.where, rep)
		}
		w.whole(t, dst, c.where)
		w.whole(t, src, c.where)
		closeBoth(t, src, dst)
	}
}

// TestCrashAtEveryStepOfDonation crashes both disks before writes of a repair
// that takes from the replica.
func TestCrashAtEveryStepOfDonation(t *testing.T) {
	t.Logf("seed %d (-heal-seed)", *seed)
	w := newWorld(t)
	d := newTwoDisks(t, w, true, 29)
	removePacks(t, d.a, 1)
	for i, path := range packPaths(t, d.a) {
		if i%3 == 0 {
			spoil(t, d.a, path)
		}
	}
	src, dst := openTwins(t, d.watch("store", d.a), d.watch("replica", d.b))
	d.arm(true)
	rep := mustScrub(t, src, Options{Repair: true}, "repair")
	d.arm(false)
	if rep.Left.Exists() || rep.Donated == 0 {
		t.Fatalf("the repair itself: %s", describe(rep))
	}
	closeBoth(t, src, dst)
	t.Logf("%d writes, %d crash images", d.n, len(d.snaps))
	if len(d.snaps) < 5 {
		t.Fatalf("only %d crash images", len(d.snaps))
	}
	for _, c := range d.snaps {
		src, dst := openTwins(t, c.a, c.b)
		if failed := w.read(t, src, c.where); len(failed) > 0 {
			t.Fatalf("%s: can't be read: %v", c.where, failed)
		}
		if rep := mustScrub(t, src, Options{Repair: true}, c.where); rep.Left.Exists() || len(rep.RepairErrors) > 0 {
			t.Fatalf("%s: the next repair: %s", c.where, describe(rep))
		}
		src.SetDonors(nil)
		w.whole(t, src, c.where)
		w.whole(t, dst, c.where)
		closeBoth(t, src, dst)
	}
}

// TestFailedWritesOfReplicate fails each write among the replica's packs once.
// The run says so, nothing that shows is hurt, and the next one ends right.
func TestFailedWritesOfReplicate(t *testing.T) {
	w := newWorld(t)
	full := errors.New("no space left on device")
	step := 13
	if *crashAll {
		step = 1
	}
	for k := 0; ; k += step {
		d := newTwoDisks(t, w, false, 1)
		var n, hit atomic.Int64
		fsys := errorfs.Wrap(d.b, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !strings.HasPrefix(op.Path, "/store/packs") || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			if n.Add(1)-1 != int64(k) {
				return nil
			}
			hit.Store(1)
			return full
		}))
		src := openWorld(t, d.a)
		dst, err := chunkstore.Open("/store", chunkstore.Options{FS: fsys, PackSize: testPack})
		if err != nil {
			if hit.Load() == 0 {
				t.Fatal(err)
			}
			dst = openWorld(t, d.b) // the disk was full before it began
		}
		_, rerr := Replicate(context.Background(), src, dst, ReplicateOptions{})
		if hit.Load() == 0 {
			closeBoth(t, src, dst)
			if rerr != nil || k < 13 {
				t.Fatalf("%d writes, %v", n.Load(), rerr)
			}
			return
		}
		if rerr == nil && err == nil {
			t.Fatalf("write %d failed and nobody was told", k)
		}
		w.visibleWhole(t, dst, "full disk")
		rep := mustReplicate(t, src, dst, ReplicateOptions{}, "next")
		if rep.Copied+rep.There != len(w.versions) {
			t.Fatalf("write %d failed; next: %+v", k, rep)
		}
		w.whole(t, dst, "after a full disk")
		closeBoth(t, src, dst)
		dst = openWorld(t, d.b)
		w.whole(t, dst, "after a full disk, opened again")
		if err := dst.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// shaky makes reads of data packs fail a number of times, or for ever.
type shaky struct {
	vfs.FS
	left  atomic.Int64 // reads that still fail; negative: all
	short bool         // they come back short, without an error
	hits  atomic.Int64
}

type shakyFile struct {
	vfs.File
	fs *shaky
}

func (s *shaky) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, ".pack") {
		return f, err
	}
	return &shakyFile{f, s}, nil
}

func (f *shakyFile) ReadAt(p []byte, off int64) (int, error) {
	if left := f.fs.left.Load(); left != 0 {
		if left > 0 {
			f.fs.left.Add(-1)
		}
		f.fs.hits.Add(1)
		if f.fs.short {
			return len(p) / 2, nil
		}
		return 0, errors.New("input/output error")
	}
	return f.File.ReadAt(p, off)
}

// TestShakySource: what can't be read is tried again, later each time, and is no
// damage; when it stays so, the version is named and nothing is marked as lost.
func TestShakySource(t *testing.T) {
	w := newWorld(t)
	for _, short := range []bool{false, true} {
		d := newTwoDisks(t, w, false, 1)
		fsys := &shaky{FS: d.a, short: short}
		src, dst := openWorld(t, fsys), openWorld(t, d.b)
		fsys.left.Store(2)
		rep := mustReplicate(t, src, dst, ReplicateOptions{Retry: time.Millisecond}, "a moment")
		if rep.Copied != len(w.versions) || fsys.hits.Load() != 2 {
			t.Fatalf("short %v: after two failures: %+v", short, rep)
		}
		w.whole(t, dst, "after two failures")
		last := w.versions[2].b
		next := append([]byte("new"), last[3:]...)
		w.capture(t, src, "vm", 40, next)
		if err := errors.Join(src.Close()); err != nil {
			t.Fatal(err)
		}
		src = openWorld(t, fsys)
		fsys.left.Store(-1)
		rep = mustReplicate(t, src, dst, ReplicateOptions{Retry: time.Millisecond}, "for ever")
		if rep.Failed != 1 || rep.Damaged != 0 || rep.Versions[0].State != VersionIncomplete {
			t.Fatalf("short %v: with a medium that does not answer: %+v", short, rep)
		}
		if src.Distrust() {
			t.Fatal("what can't be read counts as damaged")
		}
		fsys.left.Store(0)
		rep = mustReplicate(t, src, dst, ReplicateOptions{}, "it answers again")
		if rep.Copied != 1 {
			t.Fatalf("it answers again: %+v", rep)
		}
		w.whole(t, dst, "it answers again")
		closeBoth(t, src, dst)
		w.versions = w.versions[:len(w.versions)-1]
	}
}

// TestShakyDonor: a donor that can't be read gives nothing, is marked as nothing
// worse, and gives everything when it answers again.
func TestShakyDonor(t *testing.T) {
	w := newWorld(t)
	for _, short := range []bool{false, true} {
		d := newTwoDisks(t, w, true, 1)
		removePacks(t, d.a, 1)
		fsys := &shaky{FS: d.b, short: short}
		src, dst := openTwins(t, d.a, fsys)
		fsys.left.Store(-1)
		rep := mustScrub(t, src, Options{Repair: true}, "shaky donor")
		if rep.Donated != 0 || !rep.Left.Exists() {
			t.Fatalf("short %v: %+v; %s", short, rep.Donors, describe(rep))
		}
		if dst.Distrust() {
			t.Fatal("a donor that can't be read counts as damaged")
		}
		fsys.left.Store(0)
		if rep = mustScrub(t, src, Options{Repair: true}, "donor again"); rep.Left.Exists() || rep.Donated == 0 {
			t.Fatalf("short %v, it answers again: %s", short, describe(rep))
		}
		w.whole(t, src, "healed")
		closeBoth(t, src, dst)
	}
}
