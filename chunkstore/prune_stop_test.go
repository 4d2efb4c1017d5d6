package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// shortContext ends when it has been asked so often whether it has.
type shortContext struct {
	context.Context
	left int
}

func (c *shortContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestPruneStopsAnywhere: a prune that is stopped at any place where it looks, also
// between the new packs of one move, has lost nothing and left nothing, and the next
// one ends it.
func TestPruneStopsAnywhere(t *testing.T) {
	moved := false
	for looks := 0; ; looks += 3 {
		where := fmt.Sprintf("stopped at look %d", looks)
		s := newStore(t, vfs.NewMem(), 64<<10)
		w := newTestWorld()
		for i := range 4 {
			w.mustWrite(t, s, fmt.Sprintf("%c%d", "ab"[i%2], i), i)
		}
		opts := PruneOptions{Doomed: doom("a"), Walk: walkTest(s)}
		r, err := s.Prune(&shortContext{t.Context(), looks}, opts)
		if err == nil {
			if !r.Complete || !moved {
				t.Fatalf("%s: %+v", where, r)
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", where, err)
		}
		w.forget("a")
		checkVersions(t, s, w.committed, w.begun, where)
		if len(s.making) > 0 {
			t.Fatalf("%s: %d packs are said to be made", where, len(s.making))
		}
		st, err := s.pruneState()
		if err != nil {
			t.Fatal(err)
		}
		moved = moved || st.Phase == phaseCondemned
		if r := mustPrune(t, s, PruneOptions{Doomed: doom("a")}); !r.Complete || st.Phase == phaseCondemned && !r.Resumed {
			t.Fatalf("%s: %+v", where, r)
		}
		checkVersions(t, s, w.committed, w.begun, where+", and gone on")
		if left, err := s.media.Unfinished(); err != nil || len(left) > 0 {
			t.Fatalf("%s: %q are unfinished, %v", where, left, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestResumedPruneNamesAPackOnce: a prune that was taken up and then drops more judges
// every pack twice, and names one that it keeps once.
func TestResumedPruneNamesAPackOnce(t *testing.T) {
	for looks := 0; ; looks += 3 {
		fsys := vfs.NewMem()
		s := newStore(t, fsys, 64<<10)
		hurtStores.Store(fsys, true)
		w := newTestWorld()
		for i, name := range []string{"a", "b", "c"} {
			w.mustWrite(t, s, name, i)
		}
		n := dataPacks(t, s)[0]
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		path := inPacks(packName(n))
		b := readAll(t, fsys, path)
		clear(b[pack.HeaderLen:])
		writeAll(t, fsys, path, b)
		dropIndex(t, fsys)
		s = openStore(t, fsys, 64<<10)
		if _, err := s.Prune(&shortContext{t.Context(), looks}, PruneOptions{Doomed: doom("a"), Walk: walkTest(s)}); err == nil {
			t.Fatal("no prune was stopped with its chunks condemned")
		}
		st, err := s.pruneState()
		if err != nil {
			t.Fatal(err)
		}
		if st.Phase == phaseCondemned {
			if r := mustPrune(t, s, PruneOptions{Doomed: doom("b")}); !r.Resumed || r.Roots != 1 || !slices.Equal(r.Kept, []string{packName(n)}) {
				t.Errorf("%+v", r)
			}
			return
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
