package heal

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"holdfast/chunkstore/pack"
)

// TestSeenGrows: what was put is remembered while the sets double, what was not never is,
// and they double no further than they may.
func TestSeenGrows(t *testing.T) {
	random := rand.NewChaCha8([32]byte{7})
	next := func() (id pack.ID) {
		random.Read(id[:]) //nolint:errcheck // it has none
		return id
	}
	s := newSeen()
	var ids []pack.ID
	for range 50_000 {
		id := next()
		if s.has(id) {
			t.Fatalf("%v is remembered and was never put", id)
		}
		s.add(id)
		s.add(id)
		ids = append(ids, id)
	}
	lost := 0
	for _, id := range ids {
		if !s.has(id) {
			lost++
		}
	}
	if lost > len(ids)/20 {
		t.Errorf("%d of %d ids are forgotten while there is room", lost, len(ids))
	}
	if bytes := len(s.sets) * seenWays * len(halfID{}); bytes > 8<<20 {
		t.Errorf("%d ids take %d bytes", len(ids), bytes)
	}
	s.ids = mostSeenSets * seenWays
	for range 10 {
		s.add(next())
		s.ids = mostSeenSets * seenWays
	}
	if len(s.sets) != mostSeenSets {
		t.Errorf("%d sets, want %d at the most", len(s.sets), mostSeenSets)
	}
}

// TestSeenKeepsWhatCameLast: of ids for which one set has no room those put last stay, also
// where the set becomes two.
func TestSeenKeepsWhatCameLast(t *testing.T) {
	alike := func(n int) (id pack.ID) {
		binary.LittleEndian.PutUint64(id[8:], uint64(n+1))
		return id
	}
	s := newSeen()
	for n := range 6 {
		s.add(alike(n))
	}
	s.grow()
	s.add(alike(6))
	for n := range 7 {
		if got, want := s.has(alike(n)), n >= 3; got != want {
			t.Errorf("id %d of 7, with room for %d: remembered is %v", n, seenWays, got)
		}
	}
}
