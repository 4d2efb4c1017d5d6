package chunkstore

import "slices"

// Leads remember where the index has the chunks that somebody uses, pack by pack, in
// 8 bytes a use. A pack's proof holds them against its footer, so that an entry that
// leads to no record is found without a look at all others. Not safe for concurrent
// use.
type Leads struct {
	most  int
	uses  int
	packs map[uint64][]uint64 // sums of places, see place.sum
}

// NewLeads returns leads of at most so many uses. Beyond them only the packs are
// remembered.
func NewLeads(most int) *Leads { return &Leads{most: most, packs: map[uint64][]uint64{}} }

// Lead looks a chunk up and adds its place to l, unless the index does not know it.
func (s *Store) Lead(l *Leads, id ID) (ok bool, err error) {
	at, ok, err := s.lookup(id)
	if err != nil || !ok {
		return false, err
	}
	sums := l.packs[at.pack]
	if l.uses++; l.uses <= l.most {
		sums = append(sums, at.sum(id))
	} else if l.uses == l.most+1 {
		for n := range l.packs {
			l.packs[n] = nil
		}
		sums = nil
	}
	l.packs[at.pack] = sums
	return true, nil
}

// Whole reports whether all uses are remembered.
func (l *Leads) Whole() bool { return l.uses <= l.most }

// Packs returns the packs to which something leads, in order.
func (l *Leads) Packs() []uint64 {
	all := make([]uint64, 0, len(l.packs))
	for n := range l.packs {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// Of returns what leads to a pack, for ProveOptions; nil: not known.
func (l *Leads) Of(pack uint64) []uint64 { return l.packs[pack] }
