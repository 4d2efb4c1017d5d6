package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// A root whose record can't be read when its pack is indexed leads nowhere, and
// what it needs would be taken for dead. Keys 'u' and the record's id say so, with
// its place; where a pack lost its footer and it can't be told whether a root lay
// in it, the id is made of the pack's number. They go when a root of that very
// record is known, by a replica or another pack, when the pack's footer is back and
// names no root that is not known, or when somebody gives it up.

func lostRootKey(id ID) []byte { return append([]byte{keyLostRoot}, id[:]...) }

// gapID stands for whatever a pack may have lost with its footer.
func gapID(n uint64) (id ID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

func (s *Store) noteLostRoot(id ID, at place) error {
	if err := s.index.Set(lostRootKey(id), at.append(nil), pebble.NoSync); err != nil {
		return fmt.Errorf("remember a root that can't be read: %w", err)
	}
	return nil
}

// mayHideRoot reports whether a pack without its footer may have held a root that
// the scan did not find: it was not all records, or does not end with a root, which
// every commit's pack does.
func (p *foundPack) mayHideRoot() bool {
	n := len(p.entries)
	return p.scanned && p.header.Class == pack.ClassMeta && (n == 0 || p.skipped > 0 || p.entries[n-1].Kind != pack.KindRoot)
}

// lostRoots lists the roots that can't be read, by the ids of their records.
func (s *Store) lostRoots(ctx context.Context) (map[ID]place, error) {
	lost := map[ID]place{}
	err := s.eachKey(ctx, keyLostRoot, func(k, v []byte) error {
		at, err := parsePlace(v)
		if err == nil && len(k) == len(ID{}) {
			lost[ID(k)] = at
		}
		return err
	})
	return lost, err
}

// noneLost refuses to prune while there are roots that can't be read, unless they
// are given up.
func (p *pruner) noneLost(ctx context.Context) error {
	lost, err := p.lostRoots(ctx)
	if err != nil || len(lost) == 0 {
		return err
	}
	gaps, err := p.gaps(ctx, lost)
	if err != nil {
		return err
	}
	back := func(name string, id ID) error { return p.foundRoot(lost, id) }
	var bad error
	err = p.Roots(ctx, "", "", func(name string, body []byte) bool {
		plain, err := encodeRoot(name, body)
		if bad = err; err == nil {
			bad = back(name, p.codec.ID(plain))
		}
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err == nil {
		err = p.droppedRecords(ctx, back)
	}
	if err == nil {
		err = p.endGaps(gaps, lost)
	}
	if err != nil || len(lost) == 0 {
		return err
	}
	if p.opts.GiveUpLost {
		if p.opts.DryRun {
			return nil
		}
		return p.clearKeys(string(rune(keyLostRoot)))
	}
	var first place
	for _, at := range lost {
		if first == (place{}) || at.pack < first.pack || at.pack == first.pack && at.offset < first.offset {
			first = at
		}
	}
	return fmt.Errorf("%w: %d in all, the first in pack %s at %d; what such a version needs is not known and would be freed", ErrLostRoots, len(lost), packName(first.pack), first.offset)
}

// gap is a pack that was indexed without its footer, which can be read again.
type gap struct {
	pack   uint64
	unread map[ID]place // roots in it that can't be read, by the ids of their records
	failed bool         // of which some not because they are damaged: the next time they may be
}

// gaps takes out of lost the packs whose footers can be read again and name no root
// that is readable and not known: such a one waits for a scrub, which brings it back.
// Roots in them that can't be read take their place there, as if these packs had been
// indexed with their footers.
func (p *pruner) gaps(ctx context.Context, lost map[ID]place) (all []gap, err error) {
	for id, at := range lost {
		if id != gapID(at.pack) {
			continue
		}
		if known, err := p.knows(at.pack); err != nil {
			return nil, err
		} else if !known {
			continue // a repair has replaced it by what was left
		}
		g, ok, err := p.footerBack(ctx, at.pack)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, g)
		}
	}
	for _, g := range all {
		delete(lost, gapID(g.pack))
		maps.Copy(lost, g.unread)
	}
	return all, nil
}

// footerBack reports whether a pack has a footer, and every root that it names is known,
// was dropped, or can't be read.
func (s *Store) footerBack(ctx context.Context, n uint64) (gap, bool, error) {
	g := gap{pack: n, unread: map[ID]place{}}
	f, entries, err := s.footer(n)
	if err != nil {
		return g, false, nil
	}
	s.files.done(f)
	for _, e := range entries {
		if e.Kind != pack.KindRoot {
			continue
		}
		if err := ctx.Err(); err != nil {
			return g, false, err
		}
		r, err := s.readRoot(n, e)
		if err != nil {
			s.log.Warn("a root can't be read", "pack", packName(n), "offset", e.Offset, "err", err)
			g.unread[e.ID] = place{n, e.Offset, e.PayloadLen}
			d, ok := errors.AsType[*pack.Damage](err)
			g.failed = g.failed || !ok || d.Kind == pack.Unreadable
			continue
		}
		if missing, err := s.isLostRoot(ctx, r.name); err != nil || missing {
			return g, false, err
		}
	}
	return g, true, nil
}

// endGap is endGaps for a pack that was proved, and before a repair replaces it: then
// nobody can tell any more. Its damaged roots are remembered by their own ids.
func (s *Store) endGap(ctx context.Context, n uint64) error {
	if is, err := s.hasKey(lostRootKey(gapID(n))); err != nil {
		return fmt.Errorf("look up roots that can't be read: %w", err)
	} else if !is {
		return nil
	}
	s.rootMu.RLock()
	defer s.rootMu.RUnlock()
	g, ok, err := s.footerBack(ctx, n)
	if err != nil || !ok || g.failed {
		return err
	}
	for id, at := range g.unread {
		if err := s.noteLostRoot(id, at); err != nil {
			return err
		}
	}
	return s.forgetLostRoot(gapID(n))
}

// endGaps forgets the packs of which no root is lost.
func (p *pruner) endGaps(all []gap, lost map[ID]place) error {
	for _, g := range all {
		open := false
		for id := range g.unread {
			_, is := lost[id]
			open = open || is
		}
		if open || p.opts.DryRun {
			continue
		}
		p.log.Info("a pack that was indexed without its footer hides no version", "pack", packName(g.pack))
		if err := p.forgetLostRoot(gapID(g.pack)); err != nil {
			return err
		}
	}
	return nil
}

// foundRoot ends what is remembered of a root of which the record is known after
// all.
func (p *pruner) foundRoot(lost map[ID]place, id ID) error {
	if _, is := lost[id]; !is {
		return nil
	}
	delete(lost, id)
	if p.opts.DryRun {
		return nil
	}
	return p.forgetLostRoot(id)
}

func (s *Store) forgetLostRoot(id ID) error {
	if err := s.index.Delete(lostRootKey(id), pebble.NoSync); err != nil {
		return fmt.Errorf("forget a root that could not be read: %w", err)
	}
	return nil
}
