package catalog

import (
	"testing"

	"holdfast/chunkstore"
)

// TestActsDoNotGrow: of all that was ever said of versions that stay, a prune
// leaves one act for each at the most, and what holds still holds.
func TestActsDoNotGrow(t *testing.T) {
	s, ses := newStore(t)
	var all []*Version
	for h := range 3 {
		all = append(all, withData(t, s, ses, "web", at(h)))
	}
	if err := ses.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		for range 50 {
			for _, v := range all {
				must[[]string](t)(Pin(ctx, s, "web", v.ID))
				must[[]string](t)(Unpin(ctx, s, "web", v.ID))
			}
		}
		must[[]string](t)(Pin(ctx, s, "web", all[0].ID))
		must[[]string](t)(Pin(ctx, s, "web", all[1].ID))
		r, err := s.Prune(ctx, chunkstore.PruneOptions{Doomed: Doomed, Walk: Walk(s)})
		if err != nil || r.Roots < 100 {
			t.Fatalf("%+v, %v", r, err)
		}
		acts := 0
		if err := s.Roots(ctx, actPrefix, "", func(string, []byte) bool { acts++; return true }); err != nil {
			t.Fatal(err)
		}
		st := must[chunkstore.Stats](t)(s.Stats(ctx))
		if acts > len(all) || st.Packs > 4 {
			t.Errorf("round %d: %d acts in %d packs are left of %d versions", round, acts, st.Packs, len(all))
		}
		for i, v := range all {
			if m := must[Mark](t)(Marking(ctx, s, "web", v.ID)); m.Has(Pinned) != (i < 2) {
				t.Errorf("round %d: version %d has marks %v", round, i, m)
			}
		}
	}
}
