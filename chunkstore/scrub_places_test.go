package chunkstore

import (
	"context"
	"maps"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// TestKnownIDs: what a pass over the index met is known, and nothing else.
func TestKnownIDs(t *testing.T) {
	fsys, ctx := vfs.NewMem(), context.Background()
	if _, err := Create("/store", CreateOptions{FS: fsys, NoParity: true}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, fsys, 0)
	_, none, err := s.CountPlacesAndIDs(ctx)
	if err != nil || none.Has(pack.ID{}) {
		t.Fatalf("an empty index has a chunk, or %v", err)
	}
	ses := begin(t, s)
	var ids []ID
	for i := range 300 {
		ids = append(ids, mustPut(t, s, ses, pack.KindData, chunkOf(uint64(i), 100+i)))
	}
	if err := ses.Commit(ctx, "v", nil); err != nil {
		t.Fatal(err)
	}
	alone, err := s.CountPlaces(ctx)
	if err != nil {
		t.Fatal(err)
	}
	places, known, err := s.CountPlacesAndIDs(ctx)
	if err != nil || !maps.Equal(alone, places) {
		t.Fatalf("places are %v, want %v; %v", places, alone, err)
	}
	for _, id := range ids {
		if !known.Has(id) {
			t.Fatalf("chunk %v is in the index and not known", id)
		}
		for _, bit := range []int{0, 7, 63} { // the neighbours of its first eight bytes
			other := id
			other[bit/8] ^= 1 << (bit % 8)
			if known.Has(other) {
				t.Fatalf("chunk %v is known and not in the index", other)
			}
		}
	}
	if (*KnownIDs)(nil).Has(ids[0]) {
		t.Fatal("who has not looked knows a chunk")
	}
}

// TestTooManyKnownIDs: an index of more chunks than are kept leaves none known, so
// that all are looked up.
func TestTooManyKnownIDs(t *testing.T) {
	k := &KnownIDs{prefixes: make([]uint64, mostKnownIDs-1)}
	last, over := ID{0xfe}, ID{0xff}
	if k.add(last); !k.Has(last) || !k.Has(ID{}) {
		t.Fatal("as many ids as are kept are not known")
	}
	k.add(over)
	k.add(over)
	if k.Has(last) || k.Has(over) || k.Has(ID{}) || k.prefixes != nil {
		t.Fatal("of more ids than are kept some are known")
	}
}
