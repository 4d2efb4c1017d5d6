package catalog

import (
	"testing"

	"holdfast/chunkstore"
)

// TestWalkIsUnnoticed: the maps that a prune reads are not work of somebody else,
// for which it would rest.
func TestWalkIsUnnoticed(t *testing.T) {
	s, ses := newStore(t)
	withData(t, s, ses, "web", at(0))
	if err := ses.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := s.Prune(ctx, chunkstore.PruneOptions{Doomed: Doomed, Walk: Walk(s)})
	if err != nil || r.Maps == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if now, last := s.Working(); now || !last.IsZero() {
		t.Error("a prune takes its own reads for somebody else's")
	}
}
