package chunkstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

func condemnedKey(id ID) []byte { return append([]byte{keyCondemned}, id[:]...) }

// claim is has for a session: a chunk that it is told of stays until the
// session ends. A condemned one is revived.
//
// The mark is taken off before the chunk is looked for. The other way round, a
// prune could take both away in between.
func (s *Store) claim(id ID) (bool, error) {
	if err := s.reviveIfActive(id); err != nil {
		return false, err
	}
	return s.has(id)
}

// claimPublished is claim for chunks that the index knows.
func (s *Store) claimPublished(id ID) (bool, error) {
	if err := s.reviveIfActive(id); err != nil {
		return false, err
	}
	return s.hasPublished(id)
}

func (s *Store) reviveIfActive(id ID) error {
	if !s.pruning.active.Load() {
		return nil
	}
	_, err := s.revive(id)
	return err
}

// revive ends the condemnation of a chunk, and reports whether there was one.
// It need not be synced: it lies before the commit that relies on it in the
// index's log, and a commit of which a crash leaves the pack and not the batch
// is walked before the prune goes on.
func (s *Store) revive(id ID) (bool, error) {
	if is, err := s.hasKey(condemnedKey(id)); err != nil {
		return false, fmt.Errorf("look up condemned chunk %v: %w", id, err)
	} else if !is {
		return false, nil
	}
	s.damage.mu.Lock() // a prune decides under it
	defer s.damage.mu.Unlock()
	if err := s.index.Delete(condemnedKey(id), pebble.NoSync); err != nil {
		return false, fmt.Errorf("revive chunk %v: %w", id, err)
	}
	s.pruning.revived.Add(1)
	return true, nil
}

// isCondemned reports whether a chunk is condemned where the index has it. One
// that was stored anew meanwhile lies elsewhere and is not.
func (s *Store) isCondemned(id ID, at place) (bool, error) {
	v, closer, err := s.index.Get(condemnedKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up condemned chunk %v: %w", id, err)
	}
	defer closer.Close()
	was, err := parsePlace(v)
	return err == nil && was == at, err
}

// eachKey calls fn for every key with a letter, in order, without the letter.
// Key and value are valid during the call. fn may change the index.
func (s *Store) eachKey(ctx context.Context, letter byte, fn func(k, v []byte) error) error {
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{letter}, UpperBound: []byte{letter + 1}})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	defer it.Close()
	for ok, n := it.First(), 0; ok; ok, n = it.Next(), n+1 {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read index: %w", err)
		}
		if err := fn(it.Key()[1:], v); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

// clearKeys removes every key with one of the letters.
func (s *Store) clearKeys(letters string) error {
	b := s.index.NewBatch()
	defer b.Close()
	for _, l := range []byte(letters) {
		if err := b.DeleteRange([]byte{l}, []byte{l + 1}, nil); err != nil {
			return fmt.Errorf("clear index: %w", err)
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("clear index: %w", err)
	}
	return nil
}

// condemn marks every chunk in the index that is not in the set of live ones,
// and forgets the damage of chunks that nothing needs and the index does not
// have.
func (p *pruner) condemn(ctx context.Context) error {
	err := p.eachDead(ctx, func(b *pebble.Batch, id ID, at place) error {
		p.report.DeadChunks++
		p.report.DeadBytes += int64(at.recordLen())
		return b.Set(condemnedKey(id), at.append(nil), nil)
	})
	if err != nil {
		return err
	}
	live, err := p.spill.sorted()
	if err != nil {
		return err
	}
	defer live.close()
	return p.Damage(ctx, func(d DamagedChunk) error {
		if used, err := live.has(prefixOf(d.ID)); err != nil || used {
			return err
		}
		return p.forgetDamage(d)
	})
}

// forgetDamage forgets that a chunk is damaged which no version needs and the
// index does not know.
func (s *Store) forgetDamage(d DamagedChunk) error {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if _, ok, err := s.lookup(d.ID); err != nil || ok {
		return err
	}
	b := s.index.NewBatch()
	defer b.Close()
	c, err := s.forgive(b, d.ID)
	if err != nil || c == nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("forget damage of chunk %v: %w", d.ID, err)
	}
	c.Add(-1)
	return nil
}

// condemnBatch is how many chunks are condemned at once.
const condemnBatch = 4096

// eachDead calls fn for each chunk in the index that is not in the set of live
// ones, with a batch that is applied now and then.
func (p *pruner) eachDead(ctx context.Context, fn func(b *pebble.Batch, id ID, at place) error) error {
	live, err := p.spill.sorted()
	if err != nil {
		return err
	}
	defer live.close()
	b := p.index.NewBatch()
	defer func() { b.Close() }()
	err = p.eachChunk(ctx, func(id ID, at place) error {
		p.step(1)
		if used, err := live.has(prefixOf(id)); err != nil || used {
			return err
		}
		if err := fn(b, id, at); err != nil {
			return fmt.Errorf("condemn chunk %v: %w", id, err)
		}
		if b.Count() < condemnBatch {
			return nil
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return fmt.Errorf("condemn chunks: %w", err)
		}
		b.Close()
		b = p.index.NewBatch()
		return nil
	})
	if err == nil {
		err = live.toEnd() // or marks may have been missing
	}
	if err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("condemn chunks: %w", err)
	}
	return nil
}

// eachChunk calls fn for every chunk in the index, in the order of ids.
func (p *pruner) eachChunk(ctx context.Context, fn func(id ID, at place) error) error {
	n := 0
	return p.eachKey(ctx, keyChunk, func(k, v []byte) error {
		at, err := parsePlace(v)
		if err != nil || len(k) != len(ID{}) {
			return fmt.Errorf("list chunks in the index: bad entry %x: %w", k, errors.Join(err, errBadKey))
		}
		if n++; n%1024 == 0 {
			if err := p.breathe(ctx); err != nil {
				return err
			}
		}
		return fn(ID(k), at)
	})
}

var errBadKey = errors.New("index key that is not understood")
