package heal

import (
	"context"
	"io"
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

// plan puts the packs to prove into a line, and ends it.
func (s *scrub) plan(ctx context.Context, l *line) error {
	defer l.end()
	if s.opts.VM != "" {
		return s.planVM(ctx, l)
	}
	targets, err := s.planAll(ctx)
	sort.Slice(targets, func(i, j int) bool { return targets[i].number < targets[j].number })
	for _, t := range targets {
		s.opts.Progress.Total.Add(t.size)
	}
	l.add(targets...)
	return err
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
// before, and takes in the index entries that are to be held against them. What it costs
// is a matter of the VM, not of the store. A pack of data comes as soon as a chunk leads to
// it. Those of maps come last: a proof ends the damage of a map that could not be read
// once, so it has to begin when all maps were asked for. What is left to do is told when all
// are listed: of a total that grows, a share and a time left would be wrong.
func (s *scrub) planVM(ctx context.Context, l *line) error {
	var ofMaps []target
	size := s.opts.Progress.Total.Swap(0) // of the rounds before
	s.leads.Found = func(n uint64) error {
		p, wanted, err := s.list(n)
		if err != nil || !wanted {
			return err
		}
		size += p.Size
		if t := (target{number: n, size: p.Size, apart: true}); p.Meta {
			ofMaps = append(ofMaps, t)
		} else {
			l.add(t)
		}
		return nil
	}
	if err := s.newWalk().leadsOf(ctx, s.opts.VM, s.leads); err != nil {
		return err
	}
	s.opts.Progress.Total.Store(size)
	l.add(ofMaps...)
	return ctx.Err()
}

// list takes note of a pack, and reports whether it is to be proved: the index knows it,
// it was not listed before, and its last proof is not fresh.
func (s *scrub) list(n uint64) (p chunkstore.KnownPack, wanted bool, err error) {
	if s.listed[n] {
		return p, false, nil
	}
	p, known, err := s.store.KnownPack(n)
	if err != nil || !known {
		return p, false, err
	}
	if s.listed == nil {
		s.listed = map[uint64]bool{}
	}
	s.listed[n] = true
	if !s.fresh(p.Proof) {
		return p, true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Skipped++
	return p, false, nil
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
