package chunkstore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// copyPacks copies every pack below one directory of the store to another's place
// for it.
func copyPacks(t *testing.T, fsys vfs.FS, from string, to func(name string) string) (n int) {
	t.Helper()
	names, err := fsys.List(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, ok := parsePackName(name); !ok {
			continue
		}
		if err := fsys.MkdirAll(fsys.PathDir(to(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := vfs.Copy(fsys, fsys.PathJoin(from, name), to(name)); err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func inPacks(name string) string { return "/store/packs/" + name[:2] + "/" + name }
func inTrash(name string) string { return "/store/trash/" + name }

// TestPackInUseIsNoTrash: a pack that lies among the packs and in the trash, as
// after a copy back, or in a copy of the store that was made beside a prune, is
// in use if the index says so: it is not taken away by its name in the trash.
func TestPackInUseIsNoTrash(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Hour} {
		t.Run("copied back, "+grace.String(), func(t *testing.T) {
			fsys := vfs.NewMem()
			s := newStore(t, fsys, 0)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			mustPrune(t, s, PruneOptions{Doomed: doom("a"), Grace: time.Hour})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n := copyPacks(t, fsys, "/store/trash", inPacks); n != 2 {
				t.Fatalf("%d packs in the trash", n)
			}
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			checkVersions(t, s, w.committed, w.begun, "copied back")
			pruneAndOpen(t, fsys, s, w, grace)
		})
		t.Run("both names, "+grace.String(), func(t *testing.T) {
			fsys := vfs.NewMem()
			s := newStore(t, fsys, 0)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			dirs, err := fsys.List("/store/packs")
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range dirs {
				copyPacks(t, fsys, "/store/packs/"+d, inTrash)
			}
			pruneAndOpen(t, fsys, s, w, grace)
		})
	}
}

// pruneAndOpen prunes and opens a store a few times: all its versions stay, and a
// check tells of the copies in the trash.
func pruneAndOpen(t *testing.T, fsys vfs.FS, s *Store, w *world, grace time.Duration) {
	t.Helper()
	for range 3 {
		mustPrune(t, s, PruneOptions{Grace: grace})
		checkVersions(t, s, w.committed, w.begun, "pruned")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, fsys, 0)
		checkVersions(t, s, w.committed, w.begun, "opened again")
	}
	r, err := Check(t.Context(), s, CheckOptions{})
	if err != nil || len(r.Problems) != 2 {
		t.Fatalf("check tells %v, %v, want both packs in the trash", r.Problems, err)
	}
	if err := fsys.RemoveAll("/store/trash"); err != nil {
		t.Fatal(err)
	}
}

// TestDroppedRootInADamagedPackIsNotForgotten: a pack that is left to a scrub may
// hold a second record of a root that was dropped. Until it is gone, the root is
// kept in mind: an index made anew would show it again.
func TestDroppedRootInADamagedPackIsNotForgotten(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	hurtStores.Store(fsys, true)
	w := newTestWorld()
	for i, name := range []string{"a", "b", "c", "d", "e", "f"} {
		w.mustWrite(t, s, name, 20*i)
	}
	mustPrune(t, s, PruneOptions{}) // merges the packs: the roots lie in one
	at := rootPlace(t, s, "a")
	if b := rootPlace(t, s, "b"); b.pack != at.pack {
		t.Fatalf("roots in packs %x and %x", at.pack, b.pack)
	}
	id := rootID(t, s, "a")
	if err := s.noteDamage(damageAt(pack.Corrupt, id, at, nil).(*pack.Damage)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.RescueRoots(t.Context(), false); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if rootPlace(t, s, "a") == at {
		t.Fatal("the root was not stored anew")
	}
	if err := s.remember(at.pack, PackProof{When: time.Now(), Result: PackDamaged}, nil, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustPrune(t, s, PruneOptions{Doomed: doom("a")})
		if is, err := s.isDropped("a"); !is || err != nil {
			t.Fatal("the root is forgotten while its record lies in a pack", err)
		}
	}
}

func rootID(t *testing.T, s *Store, name string) ID {
	t.Helper()
	body, err := s.Root(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := encodeRoot(name, body)
	if err != nil {
		t.Fatal(err)
	}
	return s.codec.ID(plain)
}

func rootPlace(t *testing.T, s *Store, name string) place {
	t.Helper()
	at, ok, err := s.lookup(rootID(t, s, name))
	if err != nil || !ok {
		t.Fatal("no record of the root", err)
	}
	return at
}
