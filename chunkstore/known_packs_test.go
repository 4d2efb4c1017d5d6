package chunkstore

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestKnownPacks: packs one by one, all of them and those that are hurt tell the same,
// whatever proofs there are of packs that are known and of others.
func TestKnownPacks(t *testing.T) {
	ctx := context.Background()
	s := newStore(t, vfs.NewMem(), 8<<10)
	packs := []uint64{1, 3, 4, 9, 1 << 40, 1<<64 - 1}
	want := map[uint64]KnownPack{}
	for i, n := range packs {
		info := packInfo{records: uint32(i + 1), size: uint64(100 * i)}
		if err := s.index.Set(packKey(n), info.append(nil), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		want[n] = KnownPack{Number: n, Records: i + 1, Size: int64(100 * i)}
	}
	when := time.Unix(1700000000, 0).UTC()
	for n, r := range map[uint64]PackResult{0: PackDamaged, 1: PackDamaged, 2: PackDamaged, 4: PackWhole, 9: PackUnreadable, 10: PackHealable, 1<<64 - 1: PackHealable} {
		p := PackProof{When: when, Deep: n%2 == 0, Result: r}
		if err := s.index.Set(proofKey(n), p.append(nil), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if k, ok := want[n]; ok {
			k.Proof = p
			want[n] = k
		}
	}
	if err := s.index.Set(proofKey(3), []byte("no proof"), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	var all, hurt []uint64
	if err := s.KnownPacks(ctx, func(p KnownPack) error {
		all = append(all, p.Number)
		one, ok, err := s.KnownPack(p.Number)
		if err != nil || !ok || one != p || p != want[p.Number] {
			t.Errorf("%+v and %+v (%v, %v), want %+v", p, one, ok, err, want[p.Number])
		}
		return nil
	}); err != nil || !slices.Equal(all, packs) {
		t.Errorf("packs %v (%v), want %v", all, err, packs)
	}
	if err := s.HurtPacks(ctx, func(p KnownPack) {
		hurt = append(hurt, p.Number)
		if p != want[p.Number] {
			t.Errorf("%+v, want %+v", p, want[p.Number])
		}
	}); err != nil || !slices.Equal(hurt, []uint64{1, 9, 1<<64 - 1}) {
		t.Errorf("hurt packs %v (%v)", hurt, err)
	}
	for _, letter := range []byte{keyPack, keyProof} { // there are no such files
		if err := s.index.DeleteRange([]byte{letter}, []byte{letter + 1}, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := s.KnownPack(2); ok || err != nil {
		t.Errorf("a pack that is not there: %v, %v", ok, err)
	}
}
