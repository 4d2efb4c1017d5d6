package chunkstore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// isLost reports whether the chunk is known not to come back from where the
// index has it.
func (s *Store) isLost(id ID, where place) (bool, error) {
	if s.isGone(where.pack) {
		return true, nil
	}
	if lost, err := s.Damaged(id); err != nil || lost {
		return lost, err
	}
	known, err := s.knows(where.pack)
	return !known, err
}

// fix points the index to a proved record.
func (p *packProver) fix(id ID, was place, had bool, to place) error {
	p.Entries++
	if !p.opts.Fix || !p.Known {
		return nil
	}
	p.Fixed++
	return p.repoint(id, was, had, to)
}

// repoint sets the index entry of a chunk, unless it has changed since it was
// looked up, and forgets the chunk's damage.
func (s *Store) repoint(id ID, was place, had bool, to place) error {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if now, ok, err := s.lookup(id); err != nil || ok != had || now != was {
		return err
	}
	if s.enters(id); !had {
		s.dropFilter()
	}
	b := s.index.NewBatch()
	defer b.Close()
	if err := b.Set(chunkKey(id), to.append(nil), nil); err != nil {
		return fmt.Errorf("index chunk %v: %w", id, err)
	}
	c, err := s.forgive(b, id)
	if err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("index chunk %v: %w", id, err)
	}
	if c != nil {
		c.Add(-1)
	}
	return nil
}

// packInfo returns what the index knows of a pack; ok says that it knows it.
func (s *Store) packInfo(n uint64) (info packInfo, ok bool, err error) {
	v, closer, err := s.index.Get(packKey(n))
	if errors.Is(err, pebble.ErrNotFound) {
		return info, false, nil
	}
	if err != nil {
		return info, false, fmt.Errorf("look up pack %016x: %w", n, err)
	}
	defer closer.Close()
	info, err = parsePackInfo(v)
	return info, err == nil, err
}
