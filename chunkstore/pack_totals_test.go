package chunkstore

import "testing"

// TestTotalsFollowARepair: what is kept of all packs together is that of their entries
// after each step by which packs enter the index or leave it. Other tests see to
// captures, prunes and adoptions: openStore looks at the end of each.
func TestTotalsFollowARepair(t *testing.T) {
	fsys, plains := storeOfNoise(t, CreateOptions{FrameSize: testFrame})
	hurtRecords(t, fsys, plains[3], plains[7], func(a, _ []byte) { frameIn(a, 1)[500] ^= 1 })
	s := openStore(t, fsys, 0)
	before, err := s.sumPacks()
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := s.lookup(s.ID(plains[3]))
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.ProvePack(t.Context(), at.pack, ProveOptions{Deep: true, Fix: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.RepairPack(t.Context(), found, nil); err != nil || r.New == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	checkTotals(t, s)
	both, err := s.sumPacks()
	if err != nil || both.set.packs != before.set.packs+1 {
		t.Fatalf("%+v after %+v, %v", both, before, err)
	}
	if moved, err := s.FinishRepairs(t.Context()); err != nil || moved[at.pack] == "" {
		t.Fatalf("%v, %v", moved, err)
	}
	checkTotals(t, s)
	after, err := s.sumPacks()
	if err != nil || after.set.packs != before.set.packs || after.set == before.set {
		t.Fatalf("%+v after %+v, %v", after, both, err)
	}
}

// TestTotalsOfAPackAgain: a pack that the index has already counts once.
func TestTotalsOfAPackAgain(t *testing.T) {
	fsys, _ := storeOfNoise(t, CreateOptions{FrameSize: testFrame})
	s := openStore(t, fsys, 0)
	var packs []uint64
	if err := s.readPacks(func(n uint64) { packs = append(packs, n) }); err != nil {
		t.Fatal(err)
	}
	for _, n := range packs {
		p := s.inspect(n)
		if p.err != nil {
			t.Fatalf("%+v", p)
		}
		if err := s.publish(p.header, p.entries, nil, p.size); err != nil {
			t.Fatal(err)
		}
		checkTotals(t, s)
	}
}
