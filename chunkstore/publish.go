package chunkstore

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// root is a named root as it enters the index.
type root struct {
	name string
	body []byte
}

// publish puts one durable pack, a file of size bytes, into the index: its chunks, the pack itself and
// the roots in it, in one batch. With roots the batch is synced: it is the
// moment of a commit.
func (s *Store) publish(h pack.Header, entries []pack.Entry, roots []root, size int64) error {
	back, err := s.publishBatch(h, entries, roots, size)
	if err == nil && len(back) > 0 {
		s.logStored(h.Pack, back)
	}
	return err
}

// publishBatch returns the chunks whose damage ended with the pack.
func (s *Store) publishBatch(h pack.Header, entries []pack.Entry, roots []root, size int64) (back []ID, err error) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	info := packInfo{class: h.Class, records: uint32(len(entries)), size: uint64(size)}
	b := s.index.NewBatch()
	defer b.Close()
	var val []byte
	whole := map[ID]*atomic.Int64{} // counters of damage that ends with this
	for _, e := range entries {
		info.plain += uint64(e.PlainLen)
		info.stored += uint64(e.RecordLen())
		if s.keepsPlace(e, h.Pack) {
			continue
		}
		s.enters(e.ID)
		val = place{h.Pack, e.Offset, e.PayloadLen}.append(val[:0])
		if err := b.Set(chunkKey(e.ID), val, nil); err != nil {
			return nil, fmt.Errorf("index pack %016x: %w", h.Pack, err)
		}
		if c, err := s.forgive(b, e.ID); err != nil {
			return nil, fmt.Errorf("index pack %016x: %w", h.Pack, err)
		} else if c != nil {
			whole[e.ID] = c
		}
	}
	if err := b.Set(packKey(h.Pack), info.append(nil), nil); err != nil {
		return nil, fmt.Errorf("index pack %016x: %w", h.Pack, err)
	}
	for _, r := range roots {
		if err := b.Set(rootKey(r.name), r.body, nil); err != nil {
			return nil, fmt.Errorf("index root: %w", err)
		}
	}
	how := pebble.NoSync
	if len(roots) > 0 {
		how = pebble.Sync
	}
	if len(whole) > 0 {
		how = pebble.Sync
	}
	if err := s.commitPack(b, how, h.Pack, info); err != nil {
		return nil, fmt.Errorf("index pack %016x: %w", h.Pack, err)
	}
	s.memo.changedRoots(roots)
	for id, c := range whole {
		c.Add(-1)
		back = append(back, id)
	}
	return back, nil
}
