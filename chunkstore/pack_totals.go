package chunkstore

import (
	"context"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// packTotals is what the index tells of all its packs together. Of 31,000 packs the
// entries take some 10 ms to read, and an opening, a filter and a close want them: they
// are read once, and then only after some went. Whatever puts a pack into the index, or
// takes one out, does it through commitPacks.
type packTotals struct {
	mu    sync.Mutex // held while packs enter or leave the index
	valid bool       // what follows is what the index has
	packSums
}

// packSums sums packs up.
type packSums struct {
	set     packSet
	records int64 // in them
	bytes   int64 // of their files
}

func (t *packSums) add(n uint64, p packInfo) {
	t.set.add(n)
	t.records += int64(p.records)
	t.bytes += int64(p.size)
}

// sumPacks returns the sums of the packs that the index knows.
func (s *Store) sumPacks() (packSums, error) {
	s.totals.mu.Lock()
	defer s.totals.mu.Unlock()
	if !s.totals.valid {
		if err := s.countPacks(func(uint64) {}); err != nil {
			return packSums{}, err
		}
	}
	return s.totals.packSums, nil
}

// readPacks calls fn for every pack that the index knows, in order, and sums them up
// anew. fn must not change the index.
func (s *Store) readPacks(fn func(uint64)) error {
	s.totals.mu.Lock()
	defer s.totals.mu.Unlock()
	return s.countPacks(fn)
}

// countPacks is readPacks where the caller holds the totals' mu.
func (s *Store) countPacks(fn func(uint64)) error {
	s.totals.valid, s.totals.packSums = false, packSums{}
	err := s.packs(context.Background(), func(n uint64, p packInfo) {
		s.totals.add(n, p)
		fn(n)
	})
	s.totals.valid = err == nil
	return err
}

// commitPacks commits a batch by which packs enter the index, or leave it.
func (s *Store) commitPacks(b *pebble.Batch, how *pebble.WriteOptions) error {
	s.totals.mu.Lock()
	defer s.totals.mu.Unlock()
	s.totals.valid = false
	return b.Commit(how)
}

// commitPack commits a batch by which pack n enters the index, and no other.
func (s *Store) commitPack(b *pebble.Batch, how *pebble.WriteOptions, n uint64, p packInfo) error {
	s.totals.mu.Lock()
	defer s.totals.mu.Unlock()
	was := s.totals.valid
	s.totals.valid = false // should the commit fail or panic
	had, err := s.hasKey(packKey(n))
	if err == nil {
		err = b.Commit(how)
	}
	if err != nil {
		return err
	}
	if s.totals.valid = was && !had; s.totals.valid {
		s.totals.add(n, p)
	}
	return nil
}
