package chunkstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// AdoptPack indexes a pack that the index does not know, and that was proved to
// be whole, with the roots in it.
func (s *Store) AdoptPack(n uint64) (roots int, err error) {
	if err := s.using.lock(context.Background(), n); err != nil {
		return 0, err
	}
	defer s.using.unlock(n)
	if trashed, err := s.isTrashed(n); err != nil || trashed {
		return 0, err
	}
	s.rootMu.RLock()
	defer s.rootMu.RUnlock()
	p := s.inspect(n)
	if p.err != nil {
		return 0, fmt.Errorf("adopt pack %016x: %w", n, p.err)
	}
	var found []root
	for _, e := range p.entries {
		if e.Kind != pack.KindRoot {
			continue
		}
		r, err := s.readRoot(n, e)
		if err != nil {
			return 0, fmt.Errorf("adopt pack %016x: %w", n, err)
		}
		if dropped, err := s.isDropped(r.name); err != nil {
			return 0, err
		} else if dropped {
			continue
		}
		found = append(found, r)
	}
	return len(found), s.publish(p.header, p.entries, found, p.size)
}

// FinishRepairs moves the packs that repairs have replaced to quarantine and
// forgets them. It returns where they are now. A pack to which an index entry
// still leads, or whose replacement is not there, stays. It costs one pass over
// the index if there is anything to do.
func (s *Store) FinishRepairs(ctx context.Context) (map[uint64]string, error) {
	replaced, err := s.replaced()
	if err != nil || len(replaced) == 0 {
		return nil, err
	}
	used := map[uint64]bool{}
	err = s.chunksAt(ctx, func(n uint64) bool {
		if _, is := replaced[n]; is {
			used[n] = true
		}
		return false
	}, nil)
	if err != nil {
		return nil, err
	}
	moved := map[uint64]string{}
	for old, by := range replaced {
		if used[old] || !s.isThere(by) {
			s.log.Warn("a pack that was repaired is still needed; it stays", "pack", packName(old))
			if err := s.index.Delete(replacedKey(old), pebble.Sync); err != nil {
				return moved, fmt.Errorf("forget repair of pack %016x: %w", old, err)
			}
			continue
		}
		at, err := s.media.Quarantine(packName(old))
		if err != nil {
			return moved, err
		}
		s.log.Info("a repaired pack is in quarantine", "pack", packName(old), "new", packName(by), "at", at)
		moved[old] = at
		s.files.drop(old) // or its blocks stay taken when the quarantine is emptied
		if err := s.forgetPack(old); err != nil {
			return moved, err
		}
		if err := s.LogHeal(Event{Event: EventQuarantined, Pack: packHex(old), New: packHex(by), To: at}); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// isThere reports whether a pack is on the medium; pack 0 stands for none that
// is needed.
func (s *Store) isThere(n uint64) bool {
	if n == 0 {
		return true
	}
	f, err := s.media.Open(packName(n))
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// replaced lists the packs that were replaced, with those that did it.
func (s *Store) replaced() (map[uint64]uint64, error) {
	it, err := s.index.NewIter(&pebble.IterOptions{LowerBound: []byte{keyReplaced}, UpperBound: []byte{keyReplaced + 1}})
	if err != nil {
		return nil, fmt.Errorf("list replaced packs: %w", err)
	}
	all := map[uint64]uint64{}
	for ok := it.First(); ok; ok = it.Next() {
		if k, v := it.Key(), it.Value(); len(k) == 9 && len(v) == 8 {
			all[binary.BigEndian.Uint64(k[1:])] = binary.BigEndian.Uint64(v)
		}
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("list replaced packs: %w", err)
	}
	return all, nil
}
