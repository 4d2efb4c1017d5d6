package chunkstore

import (
	"context"
	"errors"
	"testing"

	"holdfast/chunkstore/pack"
)

// TestDamagedChunkCountsAsAbsent: what a read found damaged is remembered over
// an Open, is not had, is stored anew by the next put, and is whole then.
func TestDamagedChunkCountsAsAbsent(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{NoParity: true})
	hurtPacks(t, fsys, func(b []byte) []byte {
		if len(b) > 1<<20 { // the data
			clear(b[len(b)/2:][:70000])
		}
		return b
	})
	s := openStore(t, fsys, 0)
	var bad []byte
	for _, w := range want {
		var d *pack.Damage
		if _, err := s.Get(context.Background(), s.ID(w), nil); errors.As(err, &d) {
			bad = w
		}
	}
	if bad == nil || !s.Distrust() {
		t.Fatalf("distrust %v, a bad chunk: %v", s.Distrust(), bad != nil)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fsys, 0)
	st, err := s.Stats(context.Background())
	if err != nil || st.Damaged == 0 {
		t.Fatalf("after an open: %d damaged, %v", st.Damaged, err)
	}
	ses := begin(t, s)
	have := make([]bool, 2)
	if err := ses.Has(context.Background(), []ID{s.ID(bad), s.ID(want[0])}, have); err != nil || have[0] || !have[1] {
		t.Fatalf("has: %v, %v", have, err)
	}
	for _, w := range want {
		mustPut(t, s, ses, pack.KindData, w)
	}
	mustGet(t, s, s.ID(bad), bad)
	if err := ses.Commit(context.Background(), "again", nil); err != nil {
		t.Fatal(err)
	}
	if err := ses.Has(context.Background(), []ID{s.ID(bad), s.ID(want[0])}, have); err != nil || !have[0] {
		t.Fatalf("has, stored anew: %v, %v", have, err)
	}
	for _, w := range want {
		mustGet(t, s, s.ID(w), w)
	}
	// The record of root v may be damaged too; no data is.
	err = s.Damage(context.Background(), func(d DamagedChunk) error {
		t.Errorf("still damaged: %+v", d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamageEntryIsParsedWithCare(t *testing.T) {
	d := DamagedChunk{ID: ID{1}, Kind: pack.Corrupt, Pack: 5, Offset: 64, Length: 100, Tried: "x"}
	b := d.append(nil)
	if got, err := parseDamage(damageKey(d.ID), b); err != nil || got.Pack != 5 || got.Tried != "x" || got.ID != d.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	for n := range damageHead {
		if _, err := parseDamage(damageKey(d.ID), b[:n]); err == nil {
			t.Fatalf("%d bytes were taken", n)
		}
	}
	if _, err := parseDamage([]byte{keyDamage}, b); err == nil {
		t.Fatal("a short key was taken")
	}
	b[0] = 9
	if _, err := parseDamage(damageKey(d.ID), b); err == nil {
		t.Fatal("an unknown kind was taken")
	}
}
