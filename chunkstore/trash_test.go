package chunkstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestPacksFromABackupAreNoTrash: packs are copied back from a backup that is
// older than a prune, while the index still says that they are trash. They stay,
// and so do the versions that came back with them.
func TestPacksFromABackupAreNoTrash(t *testing.T) {
	for _, gone := range []bool{false, true} { // from the trash, too
		fsys := vfs.NewMem()
		s := newStore(t, fsys, 0)
		hurtStores.Store(fsys, true) // a check tells of the copies in the trash
		w := newTestWorld()
		w.mustWrite(t, s, "a", 1)
		w.mustWrite(t, s, "b", 2)
		mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := copyPacks(t, fsys, "/store/trash", inPacks); n == 0 {
			t.Fatal("the trash is empty")
		}
		if gone {
			if err := fsys.RemoveAll("/store/trash"); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			s = openStore(t, fsys, 0)
			checkVersions(t, s, w.committed, w.begun, "copied back")
			mustPrune(t, s, PruneOptions{Grace: time.Nanosecond})
			checkVersions(t, s, w.committed, w.begun, "pruned")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPacksFromABackupAfterACrash: that packs had reached the trash outlives a crash
// of the machine, so that they are known when they come back.
func TestPacksFromABackupAfterACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := newStore(t, mem, 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 2)
	mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour})
	fsys := mem.CrashClone(vfs.CrashCloneCfg{})
	if n := copyPacks(t, fsys, "/store/trash", inPacks); n == 0 {
		t.Fatal("the trash is empty")
	}
	if err := fsys.RemoveAll("/store/trash"); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fsys, 0)
	checkVersions(t, s, w.committed, w.begun, "copied back")
}

// TestTrashIsEmptiedAfterItsGrace: a process that stays up deletes what was there
// for as long as the prune said that put it there, and nothing beside a prune.
func TestTrashIsEmptiedAfterItsGrace(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	w := newTestWorld()
	empty := func(want int) {
		t.Helper()
		packs, bytes, err := s.EmptyTrash(context.Background())
		if err != nil || packs != want || bytes > 0 != (want > 0) {
			t.Fatalf("%d packs with %d bytes are deleted, want %d: %v", packs, bytes, want, err)
		}
	}
	empty(0)
	w.mustWrite(t, s, "a", 1)
	mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour})
	empty(0)
	all, err := s.trash()
	if err != nil || len(all) != 2 {
		t.Fatal(len(all), err)
	}
	for n, in := range all {
		if !in.moved || in.grace != time.Hour {
			t.Fatalf("%+v", in)
		}
		in.since = in.since.Add(-time.Hour)
		if err := s.setTrashed(in, n); err != nil {
			t.Fatal(err)
		}
	}
	s.pruning.running.Lock()
	if _, _, err := s.EmptyTrash(context.Background()); !errors.Is(err, ErrPruning) {
		t.Fatalf("beside a prune: %v", err)
	}
	s.pruning.running.Unlock()
	empty(2)
	if all, err := s.trash(); err != nil || len(all) != 0 {
		t.Fatal(len(all), err)
	}
}

// TestTrashStaysWhereAPruneRefuses: what a version needs whose record can't be read
// may lie in the trash.
func TestTrashStaysWhereAPruneRefuses(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour})
	refused := func(where string) {
		t.Helper()
		if n, _, err := s.EmptyTrash(t.Context()); err == nil || n > 0 {
			t.Fatalf("%s: %d packs are deleted: %v", where, n, err)
		}
	}
	all, err := s.trash()
	if err != nil || len(all) == 0 {
		t.Fatal("there is no trash", err)
	}
	for n, in := range all {
		in.since = in.since.Add(-time.Hour)
		if err := s.setTrashed(in, n); err != nil {
			t.Fatal(err)
		}
	}
	s.adopted.Stale = true
	refused("an index of another time")
	s.adopted.Stale = false
	if err := s.noteLostRoot(ID{1}, place{pack: 7}); err != nil {
		t.Fatal(err)
	}
	refused("a lost root")
	if err := s.clearKeys(string(rune(keyLostRoot))); err != nil {
		t.Fatal(err)
	}
	if n, _, err := s.EmptyTrash(t.Context()); err != nil || n != len(all) {
		t.Fatalf("%d packs are deleted, want %d: %v", n, len(all), err)
	}
}

// TestUnknownTrashIsKeptAWhile: of what lies in the trash an index that was made
// anew knows nothing. It stays for the usual grace from when it was first seen.
func TestUnknownTrashIsKeptAWhile(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	packs := mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour}).TrashPacks
	if err := s.clearKeys(string(rune(keyTrash))); err != nil || packs == 0 {
		t.Fatal(packs, err)
	}
	if n, _, err := s.EmptyTrash(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d packs are deleted: %v", n, err)
	}
	all, err := s.trash()
	if err != nil || len(all) != packs {
		t.Fatalf("%d packs are known, want %d: %v", len(all), packs, err)
	}
	for n, in := range all {
		if !in.moved || in.grace != DefaultGrace || time.Since(in.since) > time.Hour {
			t.Fatalf("%+v", in)
		}
		in.since = in.since.Add(-DefaultGrace)
		if err := s.setTrashed(in, n); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, err := s.EmptyTrash(t.Context()); err != nil || n != packs {
		t.Fatalf("%d packs are deleted, want %d: %v", n, packs, err)
	}
}

func TestParseTrashed(t *testing.T) {
	for _, want := range []trashed{{time.Unix(0, 0), false, 0}, {time.Unix(1<<33, 0), true, DefaultGrace}} {
		b := want.append(nil)
		if got, ok := parseTrashed(b); !ok || got != want {
			t.Errorf("%+v, %v, want %+v", got, ok, want)
		}
		for n := range len(b) {
			if _, ok := parseTrashed(b[:n]); ok {
				t.Errorf("%d bytes of %d are taken", n, len(b))
			}
		}
	}
}
