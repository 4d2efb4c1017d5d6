package chunkstore

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// rememberedPlaces counts the chunks of ids whose places are remembered.
func rememberedPlaces(s *Store, ids []ID) (n int) {
	for _, id := range ids {
		if _, ok := s.places.find(id); ok {
			n++
		}
	}
	return n
}

// warmAll makes a pass over the index as it is.
func warmAll(t *testing.T, s *Store) {
	t.Helper()
	_, chunks, err := s.packSet()
	if err != nil {
		t.Fatal(err)
	}
	s.warmIndex(chunks)
}

// TestWarm: places are known before anything is read, of what is there then; the first
// read makes a second pass only where the store has grown since.
func TestWarm(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 512<<10)
	grow := func(from, to int) (ids []ID) {
		ses := begin(t, s)
		for i := from; i < to; i++ {
			ids = append(ids, mustPut(t, s, ses, pack.KindData, chunkOf(uint64(i), 1000)))
		}
		if err := ses.Commit(context.Background(), fmt.Sprintf("v%d", from), nil); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	old := grow(0, 100)
	s.Warm()
	s.warmth.done.Wait()
	if n := rememberedPlaces(s, old); 4*n < 3*len(old) {
		t.Fatalf("of %d chunks %d are remembered", len(old), n)
	}
	few := grow(100, 110)
	s.warmFor(new(bool)) // as a reader would
	s.warmth.done.Wait()
	if n := rememberedPlaces(s, few); n != 0 {
		t.Errorf("of %d chunks that came later %d are remembered: who has read them?", len(few), n)
	}
	many := grow(110, 200)
	s.readsParts()
	s.warmth.done.Wait()
	if n := rememberedPlaces(s, append(few, many...)); 4*n < 3*(len(few)+len(many)) {
		t.Errorf("of %d chunks that came later %d are remembered", len(few)+len(many), n)
	}
	s.Warm() // again
	s.warmth.done.Wait()
	s.closeWarmth()
	s.warmth.early = false
	s.Warm() // too late
}
