package chunkstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// TestIndexCache: an index is warmed as far as the cache that was asked for holds it, by
// default 16 MiB.
func TestIndexCache(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	ses := begin(t, s)
	var ids []ID
	for i := range 50 {
		ids = append(ids, mustPut(t, s, ses, pack.KindData, chunkOf(uint64(i), 1000)))
	}
	if err := ses.Commit(t.Context(), "v", nil); err != nil {
		t.Fatal(err)
	}
	_, all, err := s.packSet()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for cache, want := range map[int64]bool{0: true, all * warmShare: true, all*warmShare - 1: false} {
		s, err := Open("/store", Options{FS: fsys, IndexCache: cache})
		if err != nil {
			t.Fatal(err)
		}
		warmAll(t, s)
		if n := rememberedPlaces(s, ids); (n > 0) != want {
			t.Errorf("a cache of %d bytes: of %d chunks %d are remembered", cache, len(ids), n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
