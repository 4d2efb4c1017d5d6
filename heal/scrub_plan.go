package heal

import (
	"context"
	"io"
	"maps"
	"slices"
	"sort"

	"holdfast/chunkstore"
)

// target is a pack to prove.
type target struct {
	number  uint64
	size    int64
	unknown bool
	expect  chunkstore.Places
	apart   bool // what leads to it is held against it apart; expect has no say
}

// plan lists the packs to prove.
func (s *scrub) plan(ctx context.Context) (targets []target, err error) {
	if s.opts.VM != "" {
		targets, err = s.planVM(ctx)
	} else {
		targets, err = s.planAll(ctx)
	}
	sort.Slice(targets, func(i, j int) bool { return targets[i].number < targets[j].number })
	for _, t := range targets {
		s.opts.Progress.Total.Add(t.size)
	}
	return targets, err
}

// planAll lists all packs, also those that the index does not know.
func (s *scrub) planAll(ctx context.Context) (targets []target, _ error) {
	places, had, err := s.store.CountPlacesAndIDs(ctx)
	if err != nil {
		return nil, err
	}
	s.had = had
	known := map[uint64]bool{}
	s.passed = map[uint64]chunkstore.Places{}
	err = s.store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		known[p.Number] = true
		if s.fresh(p.Proof) {
			s.report.Skipped++
			s.passed[p.Number] = places[p.Number]
			return ctx.Err()
		}
		targets = append(targets, target{number: p.Number, size: p.Size, expect: places[p.Number]})
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	unknown, err := s.store.UnknownPacks(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range unknown {
		known[n] = true
		targets = append(targets, target{number: n, unknown: true, expect: places[n]})
	}
	for n := range places { // entries without a pack
		if !known[n] {
			s.gone[n] = true
		}
	}
	return targets, nil
}

// planVM lists the packs that a VM's versions use, but for those that were listed
// before, and takes in the index entries that are to be held against them. What it
// costs is a matter of the VM, not of the store.
func (s *scrub) planVM(ctx context.Context) (targets []target, _ error) {
	s.leads = s.newLeads(ctx)
	if err := s.newWalk().leadsOf(ctx, s.opts.VM, s.leads); err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(s.leads.Packs())) {
		if s.listed[n] {
			continue
		}
		p, ok, err := s.store.KnownPack(n)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
			continue
		case s.fresh(p.Proof):
			s.report.Skipped++
		default:
			targets = append(targets, target{number: n, size: p.Size, apart: true})
		}
		if s.listed == nil {
			s.listed = map[uint64]bool{}
		}
		s.listed[n] = true
	}
	return targets, ctx.Err()
}

// fresh reports whether a pack's last proof is good enough to pass over it.
func (s *scrub) fresh(p chunkstore.PackProof) bool {
	return s.opts.OlderThan > 0 && p.Result == chunkstore.PackWhole && (p.Deep || !s.opts.Deep) && s.began.Sub(p.When) < s.opts.OlderThan
}

// newLeads returns leads that read as this scrub does and tell it of what they find.
func (s *scrub) newLeads(ctx context.Context) *chunkstore.Leads {
	l := s.store.NewLeads()
	l.Reader = func(r io.ReaderAt) io.ReaderAt { return s.gentleReader(ctx, r, new(Progress)) }
	l.Wrong = func(d chunkstore.DamagedChunk) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.chunk(viewDamage(d))
	}
	return l
}

// comparePlaces holds the index entries that lead to packs against them. A proof
// compares those that were there when it began, if any.
func (s *scrub) comparePlaces(ctx context.Context, sums map[uint64]chunkstore.Places) error {
	l := s.newLeads(ctx)
	if err := l.AddPacks(ctx, sums); err != nil {
		return err
	}
	return l.Check(ctx)
}
