package chunkstore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

var faultRuns = flag.Int("fault-runs", 25, "how many workloads with faults at random are run")

// TestParallelCapturesWithFaults runs captures side by side that share most of
// their chunks, while writes among the packs fail at random and contexts end in
// the middle. Then, and after crashes at random moments, and with the index made
// anew, every visible version must be whole and every reported one visible.
func TestParallelCapturesWithFaults(t *testing.T) {
	committed := 0
	for run := range *faultRuns {
		committed += faultyWorkload(t, *crashSeed*1_000_000+uint64(run))
	}
	if committed < *faultRuns {
		t.Fatalf("only %d commits in %d runs: the faults leave nothing to prove", committed, *faultRuns)
	}
}

// faulty fails writes at random and takes crash images at random.
type faulty struct {
	mem  *vfs.MemFS
	w    *world
	rate float64

	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	armed bool
	snaps []snapshot
}

func (f *faulty) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return nil
	}
	if len(f.snaps) < 4 && f.rng.IntN(60) == 0 {
		f.w.mu.Lock()
		committed := copySet(f.w.committed)
		f.w.mu.Unlock()
		c := f.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: f.rng.IntN(101), RNG: f.rng})
		f.w.mu.Lock()
		f.snaps = append(f.snaps, snapshot{c, committed, copySet(f.w.begun), "crash at " + op.Path})
		f.w.mu.Unlock()
	}
	if strings.HasPrefix(op.Path, "/store/packs") && f.rng.Float64() < f.rate {
		return []error{syscall.ENOSPC, syscall.EIO}[f.rng.IntN(2)]
	}
	return nil
}

func (f *faulty) String() string { return "faults at random" }

func (f *faulty) arm(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = on
}

func faultyWorkload(t *testing.T, seed uint64) int {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	mem := vfs.NewCrashableMem()
	w := &world{committed: map[string]bool{}, begun: map[string]bool{}}
	f := &faulty{mem: mem, w: w, rng: rand.New(rand.NewPCG(seed, 8)), rate: []float64{0.01, 0.03, 0.1}[rng.IntN(3)]}
	s := newStore(t, errorfs.Wrap(mem, f), []int64{12 << 10, 40 << 10, 1 << 20}[rng.IntN(3)])
	f.arm(true)
	var wg sync.WaitGroup
	for g := range 4 {
		r := rand.New(rand.NewPCG(seed, uint64(10+g)))
		wg.Go(func() {
			for i := range 5 {
				ctx, cancel := context.WithCancel(context.Background())
				if r.IntN(4) == 0 {
					time.AfterFunc(time.Duration(r.IntN(3000))*time.Microsecond, cancel)
				}
				w.shareVersion(ctx, s, fmt.Sprintf("v%d.%d", g, i), r.IntN(3)) //nolint:errcheck // committed tells
				cancel()
			}
		})
	}
	wg.Wait()
	f.arm(false)
	where := fmt.Sprintf("seed %d", seed)
	checkVersions(t, s, w.committed, w.begun, where)
	if err := s.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
		t.Fatalf("%s: close: %v", where, err)
	}
	checkImage(t, mem, w.committed, w.begun, where+", opened again")
	for _, c := range f.snaps {
		checkImage(t, c.fs, c.committed, c.begun, where+", "+c.where)
	}
	return len(w.committed)
}

// checkImage opens what a workload left twice, the second time without index.
func checkImage(t *testing.T, fsys vfs.FS, committed, begun map[string]bool, where string) {
	t.Helper()
	for range 2 {
		s, err := Open("/store", Options{FS: fsys})
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		checkVersions(t, s, committed, begun, where)
		if err := s.Close(); err != nil {
			t.Fatalf("%s: close: %v", where, err)
		}
		dropIndex(t, fsys)
		where += ", with a new index"
	}
}

// shareVersion is writeVersion of a capture: it asks what is there and puts the
// rest. Few seeds make versions share their chunks.
func (w *world) shareVersion(ctx context.Context, s *Store, name string, seed int) error {
	ses, err := s.Begin(ctx, name)
	if err != nil {
		return err
	}
	defer ses.Close()
	put := func(rec pack.Record) error {
		var have [1]bool
		if err := ses.Has(ctx, []ID{rec.ID}, have[:]); err != nil || have[0] {
			return err
		}
		_, err := ses.Put(ctx, []pack.Record{rec})
		return err
	}
	var ids []byte
	for i := range 12 {
		n := seed*6 + i
		rec := record(s, pack.KindData, chunkOf(uint64(n+1), 3000+n%12))
		if err := put(rec); err != nil {
			return err
		}
		ids = append(ids, rec.ID[:]...)
	}
	m := record(s, pack.KindRegionMap, ids)
	if err := put(m); err != nil {
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
