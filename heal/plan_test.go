package heal

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// TestRepairAfterPlan: a repair that passes over what its plan has just proved
// mends all the same: lost packs are forgotten when nothing leads to them any
// more, and lost index entries come back.
func TestRepairAfterPlan(t *testing.T) {
	w := newWorld(t)
	a, b := twins(t, w)
	s := openWorld(t, a)
	mustScrub(t, s, Options{}, "all proved")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n := hurtIndex(t, a, rand.New(rand.NewPCG(*seed, 9)), "c", func(b *pebble.Batch, k, _ []byte) error { return b.Delete(k, nil) })
	if n == 0 {
		t.Fatal("no index entry was removed")
	}
	src, dst := openTwins(t, a, b)
	defer closeBoth(t, src, dst)
	removePacks(t, a, 1)
	plan := mustScrub(t, src, Options{Repair: true, DryRun: true}, "plan")
	if plan.Clean() || plan.Donated == 0 {
		t.Fatalf("plan: %s", describe(plan))
	}
	rep := mustScrub(t, src, Options{Repair: true, OlderThan: time.Hour}, "repair")
	if rep.Left.Exists() || rep.Skipped == 0 || src.Distrust() {
		t.Fatalf("repair passed over %d packs; distrust %v; %s", rep.Skipped, src.Distrust(), describe(rep))
	}
	src.SetDonors(nil)
	w.whole(t, src, "after plan and repair")
	if last := mustScrub(t, src, Options{}, "again"); !last.Clean() || len(last.Findings) > 0 {
		t.Fatalf("again: %s", describe(last))
	}
}
