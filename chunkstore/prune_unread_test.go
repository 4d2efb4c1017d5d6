package chunkstore

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A version whose pack can't be read at the moment is not seen. A prune must not
// take what it leads to for dead.
func TestNoPruneBesideAPackThatCannotBeRead(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 2)
	bad := packOfRoot(t, s, "b")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := readAll(t, fsys, bad)
	dropIndex(t, fsys)
	writeAll(t, fsys, bad, nil)
	s = openStore(t, fsys, 0)
	_, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s)})
	if err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Fatalf("a prune beside a pack that can't be read: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	writeAll(t, fsys, bad, whole)
	s = openStore(t, fsys, 0)
	checkVersions(t, s, w.committed, w.begun, "the pack is back")
	mustPrune(t, s, PruneOptions{})
	checkVersions(t, s, w.committed, w.begun, "pruned")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// packOfRoot returns the path of the pack that holds a root's record.
func packOfRoot(t *testing.T, s *Store, name string) string {
	t.Helper()
	body, err := s.Root(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := encodeRoot(name, body)
	if err != nil {
		t.Fatal(err)
	}
	n, ok, err := s.PackOf(s.codec.ID(plain))
	if err != nil || !ok {
		t.Fatalf("root %q: %v, %v", name, ok, err)
	}
	return inPacks(packName(n))
}
