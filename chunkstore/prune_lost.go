package chunkstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// A root whose record can't be read when its pack is indexed leads nowhere, and
// what it needs would be taken for dead. Keys 'u' and the record's id say so, with
// its place; where a pack lost its footer and it can't be told whether a root lay
// in it, the id is made of the pack's number. They go when a root of that very
// record is known, by a replica or another pack, or when somebody gives it up.

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
	if err := p.index.Delete(lostRootKey(id), pebble.NoSync); err != nil {
		return fmt.Errorf("forget a root that could not be read: %w", err)
	}
	return nil
}
