package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// chunksAt calls fn for every index entry that leads to a pack for which want
// is true. It goes through the whole index.
func (s *Store) chunksAt(ctx context.Context, want func(pack uint64) bool, fn func(ID, place) error) error {
	return s.eachPlace(ctx, func(id ID, at place) error {
		if !want(at.pack) {
			return nil
		}
		return fn(id, at)
	})
}

// eachPlace calls fn for every chunk in the index.
func (s *Store) eachPlace(ctx context.Context, fn func(ID, place) error) error {
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{keyChunk}, UpperBound: []byte{keyChunk + 1}})
	if err != nil {
		return fmt.Errorf("list chunks in the index: %w", err)
	}
	defer it.Close()
	for ok, n := it.First(), 0; ok; ok, n = it.Next(), n+1 {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("list chunks in the index: %w", err)
		}
		at, err := parsePlace(v)
		if err != nil || len(it.Key()) != 1+len(ID{}) {
			return fmt.Errorf("list chunks in the index: bad entry %x: %w", it.Key(), err)
		}
		if err := fn(ID(it.Key()[1:]), at); err != nil {
			return err
		}
	}
	return it.Error()
}

// Places sums up the index entries that lead to a pack: two packs, or a pack and
// its footer, that have the same entries have the same sum.
type Places struct {
	Count int // negative: not known
	Sum   uint64
}

// NoPlaces says that what leads to a pack is not known.
var NoPlaces = Places{Count: -1}

func (p *Places) add(id ID, at place) {
	// Ids are hashes; what is mixed in keeps a wrong place from looking right.
	h := binary.LittleEndian.Uint64(id[:]) ^ (uint64(at.offset)<<32 | uint64(at.payloadLen))
	h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
	p.Count++
	p.Sum += h ^ h>>32
}

// sumOf sums up the records of a pack.
func sumOf(n uint64, entries []pack.Entry) (p Places) {
	for _, e := range entries {
		p.add(e.ID, place{n, e.Offset, e.PayloadLen})
	}
	return p
}

// CountPlaces sums up the index entries that lead to each pack. Packs of which
// the index has no entry of their own are there, too. It costs one pass over
// the index and 24 bytes a pack.
func (s *Store) CountPlaces(ctx context.Context) (map[uint64]Places, error) {
	return s.countPlaces(ctx, func(ID) {})
}

// CountPlacesAndIDs is CountPlaces, and the ids that it met: a scrub that asks for
// each chunk of each map would otherwise look them all up once more, one by one
// (6.5 % of a deep scrub's CPU time).
func (s *Store) CountPlacesAndIDs(ctx context.Context) (map[uint64]Places, *KnownIDs, error) {
	known := new(KnownIDs)
	places, err := s.countPlaces(ctx, known.add)
	return places, known, err
}

func (s *Store) countPlaces(ctx context.Context, fn func(ID)) (map[uint64]Places, error) {
	all := map[uint64]*Places{}
	var last *Places
	var lastOf uint64
	err := s.eachPlace(ctx, func(id ID, at place) error {
		if last == nil || at.pack != lastOf {
			if last, lastOf = all[at.pack], at.pack; last == nil {
				last = new(Places)
				all[at.pack] = last
			}
		}
		last.add(id, at)
		fn(id)
		return nil
	})
	sums := make(map[uint64]Places, len(all))
	for n, p := range all {
		sums[n] = *p
	}
	return sums, err
}

// mostKnownIDs is of how many chunks the ids are kept: 32 MiB.
const mostKnownIDs = 4 << 20

// KnownIDs are ids that the index had when somebody went through it: all of them, or
// none where there were more than 4 million. It keeps eight bytes of each, as a prune
// does: two ids in 2^64 are taken for each other. Safe for concurrent use.
type KnownIDs struct {
	prefixes []uint64 // ascending
	over     bool
}

// add takes an id in, which is above all others.
func (k *KnownIDs) add(id ID) {
	switch {
	case k.over:
	case len(k.prefixes) == mostKnownIDs:
		k.prefixes, k.over = nil, true
	default:
		k.prefixes = append(k.prefixes, prefixOf(id))
	}
}

// Has reports whether the index surely had the chunk; false says nothing. None has
// the nil KnownIDs.
func (k *KnownIDs) Has(id ID) bool {
	if k == nil {
		return false
	}
	_, has := slices.BinarySearch(k.prefixes, prefixOf(id))
	return has
}

// PackOf returns the pack in which the index has a chunk.
func (s *Store) PackOf(id ID) (n uint64, ok bool, err error) {
	at, ok, err := s.lookup(id)
	return at.pack, ok, err
}

// NoteLost records every chunk of packs that are gone as missing, in one pass
// over the index, and calls fn for each. Packs to which no entry leads any more
// are forgotten.
func (s *Store) NoteLost(ctx context.Context, gone map[uint64]bool, fn func(DamagedChunk)) error {
	used := map[uint64]bool{}
	err := s.chunksAt(ctx, func(n uint64) bool { return gone[n] }, func(id ID, at place) error {
		used[at.pack] = true
		d := &pack.Damage{Kind: pack.Missing, ID: id, Pack: at.pack, Offset: int64(at.offset), Length: at.recordLen(), Err: errors.New("the pack is gone")}
		fn(DamagedChunk{ID: id, Kind: d.Kind, Pack: d.Pack, Offset: d.Offset, Length: d.Length, Tried: d.Err.Error()})
		return s.noteDamage(d)
	})
	if err != nil {
		return err
	}
	for n := range gone {
		if !used[n] {
			if err := s.forgetPack(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetPack removes the index's own entries of a pack to which no chunk leads.
func (s *Store) forgetPack(n uint64) error {
	b := s.index.NewBatch()
	defer b.Close()
	for _, k := range [][]byte{packKey(n), proofKey(n), replacedKey(n)} {
		if err := b.Delete(k, nil); err != nil {
			return fmt.Errorf("forget pack %016x: %w", n, err)
		}
	}
	s.proving.Lock() // who proves it is not to write its proof behind this
	defer s.proving.Unlock()
	if err := s.commitPacks(b, pebble.Sync); err != nil {
		return fmt.Errorf("forget pack %016x: %w", n, err)
	}
	s.noteBack(n)
	return nil
}

// NoteUnknown records a chunk that a map names and the index does not know. It
// reports whether that is so.
func (s *Store) NoteUnknown(id ID) (bool, error) {
	if s.isInflight(id) {
		return false, nil
	}
	if _, ok, err := s.lookup(id); err != nil || ok {
		return false, err
	}
	return true, s.noteDamage(&pack.Damage{Kind: pack.Missing, ID: id, Err: errors.New("the index does not know the chunk")})
}
