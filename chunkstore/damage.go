package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

const (
	damageHead = 1 + 8 + 4 + 4 + 8 + 8
	maxTried   = 1024
	// seenAgain is how much time must have passed before damage that is met
	// again is written again: a program that reads a damaged chunk in a loop
	// must not sync the index in a loop.
	seenAgain = time.Hour
)

// DamagedChunk is a chunk that is known not to come back.
type DamagedChunk struct {
	ID     ID
	Kind   pack.DamageKind
	Pack   uint64 // 0: the index does not know the chunk
	Offset int64  // of its record in the pack
	Length int    // of its record
	First  time.Time
	Last   time.Time
	Tried  string // what was seen, and what did not help
}

// damage counts the damaged chunks; they themselves are in the index, under
// 'd'. Damage is rare, so a store without any pays one atomic load.
type damage struct {
	mu     sync.Mutex   // guards changes of 'd' keys, and of 'c' keys together with them
	lost   atomic.Int64 // corrupt or missing
	unread atomic.Int64 // unreadable: no proof of damage

	goneMu sync.RWMutex    // guards gone and changes of nGone
	gone   map[uint64]bool // packs that the index knows and the medium lacks
	nGone  atomic.Int64

	changes atomic.Int64     // of what is known; see DamageChanges
	foundMu sync.Mutex       // guards foundIn, and changes together with it
	foundIn map[uint64]int64 // by pack, changes when damage was last found there

	scrubbing sync.Mutex // held by the one scrub that runs
	asideMu   sync.Mutex // guards aside
	aside     func()     // asks the scrub in the background to step aside; nil: none runs
}

func damageKey(id ID) []byte { return append([]byte{keyDamage}, id[:]...) }

func (d *DamagedChunk) append(b []byte) []byte {
	b = append(b, byte(d.Kind))
	b = binary.LittleEndian.AppendUint64(b, d.Pack)
	b = binary.LittleEndian.AppendUint32(b, uint32(d.Offset))
	b = binary.LittleEndian.AppendUint32(b, uint32(d.Length))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.First.Unix()))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.Last.Unix()))
	return append(b, d.Tried[:min(len(d.Tried), maxTried)]...)
}

func parseDamage(k, v []byte) (DamagedChunk, error) {
	if len(k) != 1+len(ID{}) || len(v) < damageHead || len(v) > damageHead+maxTried {
		return DamagedChunk{}, fmt.Errorf("index: damage entry of %d and %d bytes", len(k), len(v))
	}
	d := DamagedChunk{
		ID: ID(k[1:]), Kind: pack.DamageKind(v[0]),
		Pack:   binary.LittleEndian.Uint64(v[1:]),
		Offset: int64(binary.LittleEndian.Uint32(v[9:])),
		Length: int(binary.LittleEndian.Uint32(v[13:])),
		First:  time.Unix(int64(binary.LittleEndian.Uint64(v[17:])), 0).UTC(),
		Last:   time.Unix(int64(binary.LittleEndian.Uint64(v[25:])), 0).UTC(),
		Tried:  string(v[damageHead:]),
	}
	if d.Kind < pack.Corrupt || d.Kind > pack.Unreadable {
		return DamagedChunk{}, fmt.Errorf("index: damage entry with %v", d.Kind)
	}
	return d, nil
}

// Damage calls fn for every damaged chunk, in the order of their ids. fn may
// use the store.
func (s *Store) Damage(ctx context.Context, fn func(DamagedChunk) error) error {
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{keyDamage}, UpperBound: []byte{keyDamage + 1}})
	if err != nil {
		return fmt.Errorf("list damage: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("list damage: %w", err)
		}
		d, err := parseDamage(it.Key(), v)
		if err != nil {
			return err
		}
		if err := fn(d); err != nil {
			return err
		}
	}
	return it.Error()
}

// loadDamage counts what the index remembers of damage.
func (s *Store) loadDamage() error {
	for _, n := range s.adopted.Missing {
		s.noteGone(n)
		if err := s.clearProof(n, pebble.NoSync); err != nil { // a scrub must not pass over it
			return err
		}
	}
	return s.Damage(context.Background(), func(d DamagedChunk) error {
		s.damage.counter(d.Kind).Add(1)
		return nil
	})
}

func (d *damage) counter(k pack.DamageKind) *atomic.Int64 {
	if k == pack.Unreadable {
		return &d.unread
	}
	return &d.lost
}

func (s *Store) noteGone(n uint64) {
	s.damage.goneMu.Lock()
	defer s.damage.goneMu.Unlock()
	if s.damage.gone == nil {
		s.damage.gone = map[uint64]bool{}
	}
	if !s.damage.gone[n] {
		s.damage.found(n)
	}
	s.damage.gone[n] = true
	s.damage.nGone.Store(int64(len(s.damage.gone)))
}

func (s *Store) noteBack(n uint64) {
	if s.damage.nGone.Load() == 0 {
		return
	}
	s.damage.goneMu.Lock()
	defer s.damage.goneMu.Unlock()
	delete(s.damage.gone, n)
	s.damage.nGone.Store(int64(len(s.damage.gone)))
}

func (s *Store) isGone(n uint64) bool {
	if s.damage.nGone.Load() == 0 {
		return false
	}
	s.damage.goneMu.RLock()
	defer s.damage.goneMu.RUnlock()
	return s.damage.gone[n]
}

// DamageChanges counts how often something was found damaged since Open, and
// what is known to be damaged, missing or unreadable now: where both are as
// before, no version's state has changed by damage.
func (s *Store) DamageChanges() (found, now int64) {
	d := &s.damage
	return d.changes.Load(), d.lost.Load() + d.unread.Load() + d.nGone.Load()
}

// found counts a find of damage.
func (d *damage) found(n uint64) {
	d.foundMu.Lock()
	defer d.foundMu.Unlock()
	if d.foundIn == nil {
		d.foundIn = map[uint64]int64{}
	}
	d.foundIn[n] = d.changes.Add(1)
}

// FoundIn reports whether anything was found damaged in one of these packs since
// DamageChanges told of so many finds.
func (s *Store) FoundIn(packs map[uint64]bool, since int64) bool {
	d := &s.damage
	d.foundMu.Lock()
	defer d.foundMu.Unlock()
	for n, last := range d.foundIn {
		if last > since && packs[n] {
			return true
		}
	}
	return false
}

// Distrust reports whether any chunk is known to be damaged or any pack to be
// missing: then a capture must ask for every chunk, also where it sees no
// change.
func (s *Store) Distrust() bool {
	return s.damage.lost.Load()+s.damage.nGone.Load() > 0
}

// Damaged reports whether chunk id is known to be corrupt or missing.
func (s *Store) Damaged(id ID) (bool, error) {
	if s.damage.lost.Load() == 0 {
		return false, nil
	}
	d, ok, err := s.damageOf(id)
	return ok && d.Kind != pack.Unreadable, err
}

// DamageOf returns what is known of a chunk's damage, if there is any.
func (s *Store) DamageOf(id ID) (DamagedChunk, bool, error) {
	if s.damage.lost.Load()+s.damage.unread.Load() == 0 {
		return DamagedChunk{}, false, nil
	}
	return s.damageOf(id)
}

func (s *Store) damageOf(id ID) (DamagedChunk, bool, error) {
	v, closer, err := s.index.Get(damageKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return DamagedChunk{}, false, nil
	}
	if err != nil {
		return DamagedChunk{}, false, fmt.Errorf("look up damage of chunk %v: %w", id, err)
	}
	defer closer.Close()
	d, err := parseDamage(damageKey(id), v)
	return d, err == nil, err
}

// noteDamage remembers that a chunk did not come back, durably, unless its
// place has changed meanwhile. Pack 0 means that the index does not know it. An
// unreadable chunk that is known to be corrupt stays corrupt. The last proof of its pack
// does not hold any more, also behind a crash.
func (s *Store) noteDamage(d *pack.Damage) error {
	if d.Err == nil {
		d.Err = errors.New("no cause was told")
	}
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if s.isInflight(d.ID) {
		return nil
	}
	at, ok, err := s.lookup(d.ID)
	if err != nil {
		return err
	}
	if ok != (d.Pack != 0) || ok && (at.pack != d.Pack || int64(at.offset) != d.Offset) {
		return nil
	}
	s.proving.Lock()
	defer s.proving.Unlock()
	s.doubt(d.Pack, d.ID, d.Kind != pack.Unreadable)
	now := time.Now().UTC().Truncate(time.Second)
	rec := DamagedChunk{ID: d.ID, Kind: d.Kind, Pack: d.Pack, Offset: d.Offset, Length: d.Length, First: now, Last: now, Tried: d.Err.Error()}
	old, known, err := s.damageOf(d.ID)
	if err != nil {
		return err
	}
	if known {
		rec.First = old.First
		if d.Kind == pack.Unreadable {
			rec.Kind = old.Kind
		}
		if rec.Kind == old.Kind && old.Pack == rec.Pack && old.Offset == rec.Offset && now.Sub(old.Last) < seenAgain {
			return nil
		}
	}
	b := s.index.NewBatch()
	defer b.Close()
	err = b.Set(damageKey(d.ID), rec.append(nil), nil)
	if err = errors.Join(err, s.doubtProofFor(b, d)); err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("remember damage of chunk %v: %w", d.ID, err)
	}
	if known {
		s.damage.counter(old.Kind).Add(-1)
	}
	s.damage.counter(rec.Kind).Add(1)
	s.damage.found(d.Pack)
	return nil
}

// forgive adds to a batch that chunk id is whole again, and returns what to
// subtract from the counters once it is committed. The caller holds damage.mu.
func (s *Store) forgive(b *pebble.Batch, id ID) (*atomic.Int64, error) {
	if s.damage.lost.Load()+s.damage.unread.Load() == 0 {
		return nil, nil
	}
	d, ok, err := s.damageOf(id)
	if err != nil || !ok {
		return nil, err
	}
	return s.damage.counter(d.Kind), b.Delete(damageKey(id), nil)
}

// noteWhole forgets the damage of a chunk that was just proved at a place, if
// that is where the index has it.
func (s *Store) noteWhole(id ID, at place) error { return s.noteWholeBy(id, at, nil) }

// noteWholeBy is noteWhole of who proves the pack: damage that others met in it meanwhile
// stays.
func (s *Store) noteWholeBy(id ID, at place, by doubts) error {
	if s.damage.lost.Load()+s.damage.unread.Load() == 0 {
		return nil
	}
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if now, ok, err := s.lookup(id); err != nil || !ok || now != at || s.isDoubted(id, by) {
		return err
	}
	b := s.index.NewBatch()
	defer b.Close()
	c, err := s.forgive(b, id)
	if err != nil || c == nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("forget damage of chunk %v: %w", id, err)
	}
	c.Add(-1)
	s.log.Info("a damaged chunk is whole again", "chunk", id.String())
	return nil
}
