package chunkstore

import (
	"context"
	"errors"
	"fmt"

	"holdfast/chunkstore/pack"
)

// RescueCopies looks for other records of the damaged chunks in the packs'
// footers, proves them and points the index there. It holds the damaged ids
// and one footer, and returns how many chunks came back.
func (s *Store) RescueCopies(ctx context.Context) (int, error) {
	lost := map[ID]bool{}
	err := s.Damage(ctx, func(d DamagedChunk) error {
		lost[d.ID] = true
		return nil
	})
	if err != nil || len(lost) == 0 {
		return 0, err
	}
	back := 0
	err = s.packs(ctx, func(n uint64, _ packInfo) {
		if ctx.Err() == nil {
			back += s.rescueFrom(n, lost)
		}
	})
	return back, errors.Join(err, ctx.Err())
}

// rescueFrom takes what one pack has of the lost chunks. A pack that can't be
// read has nothing to give.
func (s *Store) rescueFrom(n uint64, lost map[ID]bool) (back int) {
	if s.using.lock(context.Background(), n) != nil {
		return 0
	}
	defer s.using.unlock(n)
	f, err := s.media.Open(packName(n))
	if err != nil {
		return 0
	}
	_, entries, err := pack.ReadFooter(f, f.Size())
	f.Close()
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if !lost[e.ID] {
			continue
		}
		at := place{n, e.Offset, e.PayloadLen}
		was, had, err := s.lookup(e.ID)
		if err != nil || had && was == at {
			continue
		}
		rec, err := s.readPlace(e.ID, at, nil)
		if err != nil {
			continue
		}
		if _, err := s.codec.Decode(nil, rec, e.ID); err != nil {
			continue
		}
		if err := s.repoint(e.ID, was, had, at); err == nil {
			delete(lost, e.ID)
			back++
			s.noteEvent(Event{Event: EventHealed, Chunk: e.ID.String(), Donor: "copy", New: packHex(n)})
		}
	}
	return back
}

// RescueRoots stores the records of versions anew whose own record is damaged
// or gone: the index has their content, and it must not be the only place. With
// dry it counts them only.
func (s *Store) RescueRoots(ctx context.Context, dry bool) (int, error) {
	var lost []pack.Record
	var failed error
	err := s.Roots(ctx, "", "", func(name string, body []byte) bool {
		var plain []byte
		if plain, failed = encodeRoot(name, body); failed != nil {
			return false
		}
		id := s.codec.ID(plain)
		var had bool
		if had, failed = s.has(id); failed == nil && !had {
			lost = append(lost, s.codec.Encode(nil, pack.KindRoot, id, plain))
		}
		return failed == nil && ctx.Err() == nil
	})
	if err = errors.Join(err, failed, ctx.Err()); err != nil || dry || len(lost) == 0 {
		return len(lost), err
	}
	ses, err := s.Begin(ctx, "rescue of versions")
	if err != nil {
		return 0, err
	}
	defer ses.Close()
	if _, err := ses.Put(ctx, lost); err != nil {
		return 0, err
	}
	if err := s.writers[pack.ClassMeta].drain(); err != nil {
		return 0, fmt.Errorf("rescue versions: %w", err)
	}
	return len(lost), nil
}
