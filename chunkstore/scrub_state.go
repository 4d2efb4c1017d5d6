package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// PackResult is how a pack's last proof ended. The numbers are on disk.
type PackResult uint8

const (
	PackUnproved   PackResult = 0
	PackWhole      PackResult = 1
	PackHealable   PackResult = 2 // something is wrong, and everything comes back
	PackDamaged    PackResult = 3 // chunks are lost
	PackUnreadable PackResult = 4 // an I/O error: nothing is proved
)

func (r PackResult) String() string {
	switch r {
	case PackUnproved:
		return "not proved yet"
	case PackWhole:
		return "whole"
	case PackHealable:
		return "healable"
	case PackDamaged:
		return "damaged"
	case PackUnreadable:
		return "unreadable"
	}
	return fmt.Sprintf("result %d", uint8(r))
}

// PackProof is what the index remembers of a pack's last proof.
type PackProof struct {
	When   time.Time // when it began; zero: never
	Deep   bool      // every chunk was decoded and its id computed
	Result PackResult
	// Doubted says that the pack is not what the proof found, or not only: a read has
	// found a lost chunk since, or index entries are still wrong. What Result tells stands.
	Doubted bool
}

// Due reports whether the pack is to be proved before those that were proved long ago.
func (p PackProof) Due() bool {
	return p.Result == PackUnproved || p.Result == PackUnreadable || p.Doubted
}

const proofLen = 10

func proofKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyProof}, n) }

func replacedKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyReplaced}, n) }

func (p PackProof) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.When.Unix()))
	mode := byte(proofQuick)
	switch {
	case p.Doubted:
		mode = proofDoubted
	case p.Deep:
		mode = proofDeep
	}
	return append(b, mode, byte(p.Result))
}

// How a proof was made. The numbers are on disk; what was written before there was
// proofDoubted takes it for a quick one.
const (
	proofDoubted = 0 // quick or deep does not matter any more
	proofQuick   = 1
	proofDeep    = 2
)

// Proof returns a pack's last proof.
func (s *Store) Proof(n uint64) (PackProof, error) { return s.proof(n) }

// proof returns a pack's last proof; the zero value where there is none.
func (s *Store) proof(n uint64) (PackProof, error) {
	v, closer, err := s.index.Get(proofKey(n))
	if errors.Is(err, pebble.ErrNotFound) {
		return PackProof{}, nil
	}
	if err != nil {
		return PackProof{}, fmt.Errorf("look up proof of pack %016x: %w", n, err)
	}
	defer closer.Close()
	return parseProof(v), nil
}

// parseProof reads an index entry; one that can't be parsed is no proof.
func parseProof(v []byte) PackProof {
	if len(v) != proofLen {
		return PackProof{}
	}
	return PackProof{
		When: time.Unix(int64(binary.LittleEndian.Uint64(v)), 0).UTC(),
		Deep: v[8] == proofDeep, Doubted: v[8] == proofDoubted, Result: PackResult(v[9]),
	}
}

// proofPause is how much of a scrub's work a kill may undo. The index keeps what
// is not synced in this process: without a sync a kill undid all of it.
const proofPause = time.Second

// writeProof remembers a proof. One that did not find the pack whole is synced: a kill must
// not bring one back that did. The caller holds proving.
func (s *Store) writeProof(n uint64, p PackProof) error {
	how := pebble.NoSync
	last, now := s.proofsSynced.Load(), time.Now()
	if (last == nil || now.Sub(*last) >= proofPause) && s.proofsSynced.CompareAndSwap(last, &now) || p.Result != PackWhole {
		how = pebble.Sync
	}
	if err := s.index.Set(proofKey(n), p.append(nil), how); err != nil {
		return fmt.Errorf("remember proof of pack %016x: %w", n, err)
	}
	return nil
}

// clearProof makes the next scrub look at a pack, however new its proof is.
func (s *Store) clearProof(n uint64, how *pebble.WriteOptions) error {
	if err := s.index.Delete(proofKey(n), how); err != nil {
		return fmt.Errorf("forget proof of pack %016x: %w", n, err)
	}
	return nil
}

// KnownPack is a pack as the index knows it.
type KnownPack struct {
	Number  uint64
	Meta    bool // it holds maps and roots
	Records int
	Size    int64
	Proof   PackProof
}

// KnownPacks calls fn for each pack in the index, in the order of their
// numbers. fn may use the store.
func (s *Store) KnownPacks(ctx context.Context, fn func(KnownPack) error) error {
	var all []KnownPack
	err := s.packs(ctx, func(n uint64, p packInfo) { all = append(all, knownPack(n, p)) })
	if err != nil {
		return err
	}
	// Proofs are in the same order: going through them costs a twentieth of looking each up.
	next := 0
	err = s.eachProof(ctx, func(n uint64, p PackProof) {
		for next < len(all) && all[next].Number < n {
			next++
		}
		if next < len(all) && all[next].Number == n {
			all[next].Proof = p
		}
	})
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

func knownPack(n uint64, p packInfo) KnownPack {
	return KnownPack{Number: n, Meta: p.class != 0, Records: int(p.records), Size: int64(p.size)}
}

// KnownPack returns one pack as the index knows it; ok says that it does.
func (s *Store) KnownPack(n uint64) (p KnownPack, ok bool, err error) {
	info, ok, err := s.packInfo(n)
	if err != nil || !ok {
		return p, false, err
	}
	p = knownPack(n, info)
	p.Proof, err = s.proof(n)
	return p, err == nil, err
}

// HurtPacks calls fn, in the order of their numbers, for each pack in the index whose
// last proof did not find it whole. It costs one look at each proof that there is.
func (s *Store) HurtPacks(ctx context.Context, fn func(KnownPack)) error {
	var hurt []uint64
	err := s.eachProof(ctx, func(n uint64, p PackProof) {
		if p.Result > PackWhole {
			hurt = append(hurt, n)
		}
	})
	if err != nil {
		return err
	}
	for _, n := range hurt {
		p, ok, err := s.KnownPack(n)
		if err != nil {
			return err
		}
		if ok && p.Proof.Result > PackWhole {
			fn(p)
		}
	}
	return nil
}

// eachProof calls fn for every proof, in the order of the packs' numbers.
func (s *Store) eachProof(ctx context.Context, fn func(uint64, PackProof)) error {
	return s.eachKey(ctx, keyProof, func(k, v []byte) error {
		if len(k) == 8 {
			fn(binary.BigEndian.Uint64(k), parseProof(v))
		}
		return nil
	})
}

// UnknownPacks returns the packs on the medium that the index does not know and
// that are not being written.
func (s *Store) UnknownPacks(ctx context.Context) ([]uint64, error) {
	var unknown []uint64
	err := s.media.List(func(name string) error {
		n, ok := parsePackName(name)
		if !ok {
			return ctx.Err()
		}
		if trashed, err := s.isTrashed(n); err != nil || trashed {
			return err
		}
		// A pack leaves the pending ones after it has entered the index, so
		// the second look-up is the one that counts.
		for range 2 {
			if known, err := s.knows(n); err != nil || known {
				return err
			}
			if s.isPending(n) {
				return nil
			}
		}
		unknown = append(unknown, n)
		return ctx.Err()
	})
	return unknown, err
}

func (s *Store) knows(n uint64) (bool, error) {
	is, err := s.hasKey(packKey(n))
	if err != nil {
		return false, fmt.Errorf("look up pack %016x: %w", n, err)
	}
	return is, nil
}

func (s *Store) isPending(n uint64) bool {
	for c := range s.writers {
		w := &s.writers[c]
		w.mu.Lock()
		found := w.active != nil && w.active.Header().Pack == n
		for _, p := range w.pending {
			found = found || p.Header().Pack == n
		}
		w.mu.Unlock()
		if found {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.making[n]
}
