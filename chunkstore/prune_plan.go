package chunkstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// packShare is how much of a pack is used.
type packShare struct {
	number uint64
	packInfo
	live    int64 // bytes of records that are needed
	entries int   // index entries that lead here, of live and dead chunks
	must    bool  // it holds what must go: a dropped root, a record that is not the chunk's
	skip    bool  // a repair has to do with it
	merge   bool  // it is only too small
}

// unused is what the records take that are not needed.
func (s *packShare) unused() int64 { return max(0, int64(s.stored)-s.live) }

// stale reports whether the index leads to fewer chunks than the pack holds
// records.
func (s *packShare) stale() bool { return s.entries < int(s.records) }

// allKnown reports whether a pack holds nothing but records that the index leads to:
// they are as many as it was indexed with, and fill it to its size.
func (s *packShare) allKnown() bool {
	return !s.stale() && pack.Fills(int64(s.size), int(s.records), int64(s.stored))
}

// planRules say which packs are written anew.
type planRules struct {
	packSize  int64
	maxUnused float64
	maxRepack int64 // 0: no bound
}

// group is packs of one class whose live records become one new pack, or none.
type group []*packShare

// plan decides which packs are removed and in which groups. Those that must go
// come first, then those without anything alive, which cost nothing, then those
// with the largest unused share until no more than maxUnused of all is unused,
// then small ones. left is how many groups maxRepack leaves out. It does
// arithmetic only.
func (r planRules) plan(packs []*packShare) (groups []group, left int) {
	var must, empty, rest []*packShare
	var live, unused int64
	for _, p := range packs {
		switch {
		case p.skip:
			live += int64(p.stored)
			continue
		case p.must:
			must = append(must, p)
		case p.live == 0:
			empty = append(empty, p)
		default:
			rest = append(rest, p)
			unused += p.unused()
		}
		live += p.live
	}
	byNumber := func(a, b *packShare) int { return cmp.Compare(a.number, b.number) }
	slices.SortFunc(must, byNumber)
	slices.SortFunc(empty, byNumber)
	slices.SortFunc(rest, func(a, b *packShare) int {
		// a.unused/a.stored against b's, the greater first
		return cmp.Or(cmp.Compare(float64(b.unused())/float64(b.stored), float64(a.unused())/float64(a.stored)), byNumber(a, b))
	})
	chosen := map[*packShare]bool{}
	order := must
	allowed := r.allowed(live)
	for _, p := range rest {
		if unused <= allowed || p.unused() == 0 {
			break
		}
		unused -= p.unused()
		order = append(order, p)
		chosen[p] = true
	}
	order = append(order, r.small(rest, chosen)...)
	groups = slices.DeleteFunc(r.groups(order), func(g group) bool { return !g.gains() })
	for len(empty) > 0 {
		n := min(len(empty), emptyAtOnce)
		groups, empty = append(groups, empty[:n]), empty[n:]
	}
	// What costs nothing goes before what copies, and what must go before all.
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(a.rank(), b.rank()) })
	all := len(groups)
	groups = r.bounded(groups)
	return groups, all - len(groups)
}

// emptyAtOnce bounds the batch that removes packs without anything alive.
const emptyAtOnce = 16

func (g group) rank() int {
	for _, p := range g {
		if p.must {
			return 0
		}
	}
	if g.live() == 0 {
		return 1
	}
	return 2
}

func (g group) live() (n int64) {
	for _, p := range g {
		n += p.live
	}
	return n
}

// allowed is how much may stay unused of packs with that many live bytes.
func (r planRules) allowed(live int64) int64 {
	if r.maxUnused >= 1 {
		return int64(^uint64(0) >> 1)
	}
	return int64(float64(live) * max(0, r.maxUnused) / (1 - max(0, r.maxUnused)))
}

// smallGrowth is how many times the bytes of all smaller ones a small pack may
// have to be merged with them: each byte is copied a few times in its life, and
// a few small packs stay.
const smallGrowth = 4

// small chooses small packs to merge, by class, the smallest first.
func (r planRules) small(rest []*packShare, chosen map[*packShare]bool) (merge []*packShare) {
	for class := range pack.Class(2) {
		var small []*packShare
		for _, p := range rest {
			if p.class == class && !chosen[p] && p.live < r.packSize/2 {
				small = append(small, p)
			}
		}
		slices.SortFunc(small, func(a, b *packShare) int {
			return cmp.Or(cmp.Compare(a.live, b.live), cmp.Compare(a.number, b.number))
		})
		n, sum := 0, int64(0)
		for i, p := range small {
			if i > 0 && p.live <= smallGrowth*sum {
				n = i + 1
			}
			sum += p.live
		}
		for _, p := range small[:n] {
			p.merge = true
		}
		merge = append(merge, small[:n]...)
	}
	return merge
}

// gains reports whether a group is worth its copy. Maps and roots become two
// packs, so that two small packs of them may be what a merge has made.
func (g group) gains() bool {
	for _, p := range g {
		if !p.merge {
			return true
		}
	}
	return len(g) > 1+int(g[0].class)
}

// groups divides packs, in order, so that each group's live records make about
// one pack. Classes do not mix.
func (r planRules) groups(order []*packShare) (groups []group) {
	most := r.packSize + r.packSize/4
	if r.maxRepack > 0 {
		most = min(most, r.maxRepack)
	}
	var open [2]group
	for _, p := range order {
		g := &open[p.class]
		if len(*g) > 0 && g.live()+p.live > most {
			groups = append(groups, *g)
			*g = nil
		}
		*g = append(*g, p)
	}
	for _, g := range open {
		if len(g) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// bounded leaves groups out that would copy more than is allowed.
func (r planRules) bounded(groups []group) []group {
	if r.maxRepack <= 0 {
		return groups
	}
	left := r.maxRepack
	return slices.DeleteFunc(groups, func(g group) bool {
		if n := g.live(); n <= left {
			left -= n
			return false
		}
		return true
	})
}

// shares counts what is used of each pack, in one pass over the index. dead says
// of a chunk and its place, in the order of ids, whether it is dead. It holds
// about 100 bytes a pack.
func (p *pruner) shares(ctx context.Context, dead func(id ID, at place) (bool, error)) ([]*packShare, error) {
	by := map[uint64]*packShare{}
	err := p.packs(ctx, func(n uint64, info packInfo) { by[n] = &packShare{number: n, packInfo: info} })
	if err != nil {
		return nil, err
	}
	err = p.eachChunk(ctx, func(id ID, at place) error {
		is, err := dead(id, at)
		if err != nil {
			return err
		}
		if share := by[at.pack]; share != nil {
			share.entries++
			if !is {
				share.live += int64(at.recordLen())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := make([]*packShare, 0, len(by))
	for _, share := range by {
		all = append(all, share)
	}
	return all, p.judge(ctx, all, by)
}

// judge finds the packs that must go and those that a repair has to do with.
func (p *pruner) judge(ctx context.Context, all []*packShare, by map[uint64]*packShare) error {
	replaced, err := p.replaced()
	if err != nil {
		return err
	}
	p.report.Kept = nil // a prune that was taken up judges twice
	for _, share := range all {
		proof, err := p.proof(share.number)
		if err != nil {
			return err
		}
		_, going := replaced[share.number]
		hurt := proof.Result == PackDamaged || proof.Result == PackUnreadable
		share.skip = going || hurt && share.live > 0 || share.live > 0 && p.isGone(share.number)
		share.must = share.stale() && share.live > 0
		if share.live == 0 && !share.skip && !share.allKnown() {
			share.skip = p.mayHold(share.number)
		}
	}
	return p.droppedRecords(ctx, func(_ string, id ID) error {
		at, ok, err := p.lookup(id)
		if share := by[at.pack]; err == nil && ok && share != nil {
			share.must = true
		}
		return err
	})
}

// mayHold reports whether a pack in which nothing alive is known may hold what is not
// known: its footer can't be read, and there is more in it than what the index leads
// to. A scrub decides of it: an index made anew knows nothing of such a pack but its
// name, and what the versions have lost may be in it.
func (p *pruner) mayHold(n uint64) bool {
	f, _, err := p.footer(n)
	if err == nil {
		p.files.done(f)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return false // each record that the index does not lead to is read before it goes, or there is none
	}
	p.warnKept(n, err)
	p.report.Kept = append(p.report.Kept, packName(n))
	return true
}

func (p *pruner) warnKept(n uint64, err error) {
	p.log.Warn("a pack may hold what can't be read at the moment; it is kept until a scrub has mended it", "pack", packName(n), "err", err)
}

// footer opens a pack and reads what its footer says is in it. Who calls it gives the
// file back.
func (s *Store) footer(n uint64) (*packFile, []pack.Entry, error) {
	f, err := s.files.open(n)
	if err != nil {
		return nil, nil, err
	}
	entries, err := s.readFooter(f, f.Size(), n)
	if err != nil {
		s.files.done(f)
		return nil, nil, err
	}
	return f, entries, nil
}

// readFooter reads what the footer of pack n says is in it.
func (s *Store) readFooter(r io.ReaderAt, size int64, n uint64) ([]pack.Entry, error) {
	h, entries, err := pack.ReadFooter(r, size)
	switch {
	case err != nil:
		return nil, err
	case h.Pack != n:
		return nil, fmt.Errorf("its header says pack %016x", h.Pack)
	case h.Store != s.cfg.storeID():
		return nil, fmt.Errorf("it belongs to store %x", h.Store)
	}
	return entries, nil
}

// condemnedCursor follows the condemned chunks beside a walk of the index in the
// order of ids.
type condemnedCursor struct {
	it *pebble.Iterator
	ok bool
}

func (s *Store) condemnedChunks(ctx context.Context) (*condemnedCursor, error) {
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{keyCondemned}, UpperBound: []byte{keyCondemned + 1}})
	if err != nil {
		return nil, fmt.Errorf("list condemned chunks: %w", err)
	}
	return &condemnedCursor{it, it.First()}, nil
}

// has reports whether the chunk is condemned at its place.
func (c *condemnedCursor) has(id ID, at place) (bool, error) {
	for c.ok {
		switch order := slices.Compare(c.it.Key()[1:], id[:]); {
		case order < 0:
			c.ok = c.it.Next()
			continue
		case order > 0:
			return false, nil
		}
		was, err := parsePlace(c.it.Value())
		return err == nil && was == at, nil
	}
	return false, c.it.Error()
}
