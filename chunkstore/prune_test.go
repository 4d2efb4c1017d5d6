package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// walkTest is the WalkFunc of the tests' roots: a root's body names a map, which
// is the ids of its chunks. A root whose body is empty leads to nothing.
func walkTest(s *Store) WalkFunc {
	return func(ctx context.Context, _ string, body []byte, visit Visit) error {
		if len(body) == 0 {
			return nil
		}
		id, err := pack.ParseID(string(body))
		if err != nil {
			return err
		}
		if into, err := visit(id, pack.KindRegionMap); err != nil || !into {
			return err
		}
		ids, err := s.Unnoticed().Get(ctx, id, nil)
		if err != nil {
			return err
		}
		for ; len(ids) > 0; ids = ids[32:] {
			if _, err := visit(ID(ids[:32]), pack.KindData); err != nil {
				return err
			}
		}
		return nil
	}
}

// doom names the roots whose names begin with a prefix.
func doom(prefixes ...string) func(context.Context, Roots) ([]string, error) {
	return func(ctx context.Context, r Roots) (names []string, err error) {
		err = r.Roots(ctx, "", "", func(name string, _ []byte) bool {
			for _, p := range prefixes {
				if strings.HasPrefix(name, p) {
					names = append(names, name)
				}
			}
			return true
		})
		return names, err
	}
}

func mustPrune(t *testing.T, s *Store, opts PruneOptions) *PruneReport {
	t.Helper()
	opts.Walk = walkTest(s)
	r, err := s.Prune(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newTestWorld() *world {
	return &world{committed: map[string]bool{}, begun: map[string]bool{}}
}

func (w *world) mustWrite(t *testing.T, s *Store, name string, seed int) {
	t.Helper()
	if err := w.writeVersion(context.Background(), s, name, seed); err != nil {
		t.Fatal(err)
	}
}

// forget takes the versions with a prefix out of what must be there.
func (w *world) forget(prefix string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range []map[string]bool{w.committed, w.begun} {
		for n := range m {
			if strings.HasPrefix(n, prefix) {
				delete(m, n)
			}
		}
	}
}

func stats(t *testing.T, s *Store) Stats {
	t.Helper()
	st, err := s.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestPruneFreesWhatNothingLeadsTo: after a prune the store holds what a store
// that never had the dropped versions would hold, and neither an opening nor an
// index made anew brings them back.
func TestPruneFreesWhatNothingLeadsTo(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 64<<10)
	w := newTestWorld()
	for i := range 9 {
		w.mustWrite(t, s, fmt.Sprintf("%c%d", "abc"[i%3], i), i)
	}
	plan := mustPrune(t, s, PruneOptions{DryRun: true, Doomed: doom("a", "c")})
	before := stats(t, s)
	if before.Roots != 9 || plan.Roots != 6 || plan.Packs == 0 || plan.DeadChunks == 0 {
		t.Fatalf("dry run: %+v, store %+v", plan, before)
	}
	r := mustPrune(t, s, PruneOptions{Doomed: doom("a", "c")})
	w.forget("a")
	w.forget("c")
	checkVersions(t, s, w.committed, w.begun, "pruned")
	if r.Roots != 6 || !r.Complete || r.DeadChunks != plan.DeadChunks || r.TrashPacks != 0 || r.FreedBytes == 0 {
		t.Fatalf("%+v", r)
	}
	fresh, want := vfs.NewMem(), newTestWorld()
	f := newStore(t, fresh, 64<<10)
	for _, i := range []int{1, 4, 7} {
		want.mustWrite(t, f, fmt.Sprint("b", i), i)
	}
	mustPrune(t, f, PruneOptions{})
	a, b := stats(t, s), stats(t, f)
	if a.Chunks != b.Chunks || a.StoredBytes != b.StoredBytes || a.Packs > b.Packs+1 {
		t.Errorf("pruned %+v, a fresh store %+v", a, b)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, fsys, 64<<10)
		checkVersions(t, s, w.committed, w.begun, "opened again")
		if got := stats(t, s); got.Chunks != a.Chunks || got.Roots != 3 {
			t.Fatalf("opened again: %+v, want %+v", got, a)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dropIndex(t, fsys)
		s = openStore(t, fsys, 64<<10)
	}
}

// TestGraceOnlyDelays: packs stay in the trash until the grace is over.
func TestGraceOnlyDelays(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	r := mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour})
	if r.TrashPacks != 2 || r.FreedBytes != 0 || r.Packs != 2 {
		t.Fatalf("%+v", r)
	}
	if r = mustPrune(t, s, PruneOptions{Grace: time.Hour}); r.TrashPacks != 2 || r.DeletedPacks != 0 {
		t.Fatalf("%+v", r)
	}
	if r = mustPrune(t, s, PruneOptions{}); r.TrashPacks != 0 || r.DeletedPacks != 2 || r.FreedBytes == 0 {
		t.Fatalf("%+v", r)
	}
	if st := stats(t, s); st.Packs != 0 || st.Chunks != 0 {
		t.Fatalf("%+v", st)
	}
}

// TestSmallPacksAreMerged: each commit leaves a pack or two; prunes keep their
// number small and copy each byte a few times only.
func TestSmallPacksAreMerged(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 256<<10)
	w := newTestWorld()
	copied := int64(0)
	for i := range 60 {
		w.mustWrite(t, s, fmt.Sprintf("v%02d", i), i)
		if i%6 == 5 {
			copied += mustPrune(t, s, PruneOptions{MaxUnused: 0.05}).NewBytes
		}
	}
	checkVersions(t, s, w.committed, w.begun, "merged")
	st := stats(t, s)
	t.Logf("%d packs of %d bytes, %d bytes copied", st.Packs, st.PackBytes, copied)
	if most := st.PackBytes/(128<<10) + 12; st.Packs > most {
		t.Errorf("%d packs, want at most %d", st.Packs, most)
	}
	if copied > 4*st.PackBytes {
		t.Errorf("%d bytes copied of %d", copied, st.PackBytes)
	}
}

// TestMaxRepackIsKept: no more is copied than is allowed, and what is left is
// done the next time.
func TestMaxRepackIsKept(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 64<<10)
	w := newTestWorld()
	for i := range 12 {
		w.mustWrite(t, s, fmt.Sprintf("%c%d", "ab"[i%2], i), 4*(i/2)+i%2) // b shares half of a's chunks
	}
	w.forget("a")
	before := stats(t, s)
	rounds := 0
	for {
		r := mustPrune(t, s, PruneOptions{Doomed: doom("a"), MaxRepack: 40 << 10})
		if r.NewBytes > 60<<10 { // with footers and parity
			t.Fatalf("%d bytes were copied", r.NewBytes)
		}
		checkVersions(t, s, w.committed, w.begun, "with a bound")
		if rounds++; r.Packs == 0 || rounds > 50 {
			break
		}
	}
	after := stats(t, s)
	if rounds < 3 || rounds > 50 || after.StoredBytes >= before.StoredBytes {
		t.Fatalf("%d rounds, before %+v, after %+v", rounds, before, after)
	}
}

// TestSessionKeepsWhatItWasToldOf: a chunk that was had before it was condemned,
// one that is asked for after, and one of a previous version that is asked for
// at no time: a commit finds all of them.
func TestSessionKeepsWhatItWasToldOf(t *testing.T) {
	for _, way := range []string{"has", "put", "neither"} {
		t.Run(way, func(t *testing.T) {
			s := newStore(t, vfs.NewMem(), 64<<10)
			w := newTestWorld()
			w.mustWrite(t, s, "old", 1)
			body, err := s.Root(context.Background(), "old")
			if err != nil {
				t.Fatal(err)
			}
			ses := begin(t, s) // before the version is dropped
			id, _ := pack.ParseID(string(body))
			ids, err := s.Get(context.Background(), id, nil)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			waiting := make(chan bool)
			progress := new(PruneProgress)
			go func() {
				_, err := s.Prune(context.Background(), PruneOptions{Doomed: doom("old"), Walk: walkTest(s), Progress: progress})
				done <- err
			}()
			go func() {
				for {
					if p := progress.Phase.Load(); p != nil && *p == "wait" {
						close(waiting)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
			<-waiting
			switch way {
			case "has":
				all := []ID{id}
				for b := ids; len(b) > 0; b = b[32:] {
					all = append(all, ID(b[:32]))
				}
				have := make([]bool, len(all))
				if err := ses.Has(context.Background(), all, have); err != nil {
					t.Fatal(err)
				}
				for i, h := range have {
					if !h {
						t.Fatalf("chunk %d is not had", i)
					}
				}
			case "put":
				for i := range 12 {
					mustPut(t, s, ses, pack.KindData, chunkOf(uint64(6+i+1), 9000+(6+i)%12))
				}
				mustPut(t, s, ses, pack.KindRegionMap, ids)
			}
			if err := ses.Commit(context.Background(), "new", body); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				t.Fatalf("the prune did not wait: %v", err)
			default:
			}
			ses.Close()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			w.forget("old")
			w.committed["new"], w.begun["new"] = true, true
			checkVersions(t, s, w.committed, w.begun, way)
			mustPrune(t, s, PruneOptions{})
			checkVersions(t, s, w.committed, w.begun, way+", pruned again")
		})
	}
}

// TestPruneGoesOn: a prune that is stopped at any chunk of its mark, or while it
// waits, is taken up by the next one, also after the store was opened anew.
func TestPruneGoesOn(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		for stop := 1; ; stop += 5 {
			fsys := vfs.NewMem()
			s := newStore(t, fsys, 64<<10)
			w := newTestWorld()
			for i := range 6 {
				w.mustWrite(t, s, fmt.Sprintf("%c%d", "ab"[i%2], i), i)
			}
			ctx, cancel := context.WithCancel(context.Background())
			n := 0
			walk := walkTest(s)
			_, err := s.Prune(ctx, PruneOptions{Doomed: doom("a"), Walk: func(ctx context.Context, name string, body []byte, visit Visit) error {
				return walk(ctx, name, body, func(id ID, kind pack.Kind) (bool, error) {
					if n++; n == stop {
						cancel()
						return false, ctx.Err()
					}
					return visit(id, kind)
				})
			}})
			cancel()
			if n < stop {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("stopped at %d: %v", stop, err)
			}
			w.forget("a")
			w.mustWrite(t, s, "between", 0) // shares chunks with what is being dropped
			if reopen {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, fsys, 64<<10)
			}
			r := mustPrune(t, s, PruneOptions{Doomed: doom("a")})
			if !r.Resumed || !r.Complete {
				t.Fatalf("stopped at %d: %+v", stop, r)
			}
			checkVersions(t, s, w.committed, w.begun, fmt.Sprint("stopped at ", stop))
			s.Close()
		}
	}
}

// TestOutOfTimeIsNoError: a prune that waits for a capture ends with its time,
// and the next one ends it.
func TestOutOfTimeIsNoError(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 64<<10)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 2)
	ses := begin(t, s)
	r := mustPrune(t, s, PruneOptions{Doomed: doom("a"), MaxDuration: 50 * time.Millisecond})
	if r.Complete || r.Why == "" {
		t.Fatalf("%+v", r)
	}
	ses.Close()
	if r = mustPrune(t, s, PruneOptions{}); !r.Complete || !r.Resumed || r.Packs == 0 {
		t.Fatalf("%+v", r)
	}
	w.forget("a")
	checkVersions(t, s, w.committed, w.begun, "in the end")
}

// TestUnknownMapStopsAPrune: where it is not known what a version leads to,
// nothing is condemned.
func TestUnknownMapStopsAPrune(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 64<<10)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 2)
	walk := walkTest(s)
	broken := errors.New("map is damaged")
	_, err := s.Prune(context.Background(), PruneOptions{Doomed: doom("a"), Walk: func(ctx context.Context, name string, body []byte, visit Visit) error {
		if name == "b" {
			return broken
		}
		return walk(ctx, name, body, visit)
	}})
	if !errors.Is(err, broken) {
		t.Fatalf("%v", err)
	}
	w.forget("a")
	checkVersions(t, s, w.committed, w.begun, "after the refusal")
	if r := mustPrune(t, s, PruneOptions{}); r.Resumed || !r.Complete || r.Packs == 0 {
		t.Fatalf("%+v", r)
	}
	checkVersions(t, s, w.committed, w.begun, "after the next")
}
