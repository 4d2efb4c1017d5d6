package chunkstore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Stats implements API. It costs one look at each pack's index entry.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	err := s.packs(ctx, func(_ uint64, p packInfo) {
		st.Packs++
		st.Chunks += int64(p.records)
		st.PlainBytes += int64(p.plain)
		st.StoredBytes += int64(p.stored)
		st.PackBytes += int64(p.size)
	})
	if err != nil {
		return Stats{}, err
	}
	if err := s.Roots(ctx, "", "", func(string, []byte) bool { st.Roots++; return true }); err != nil {
		return Stats{}, err
	}
	st.IndexBytes = int64(s.index.Metrics().DiskSpaceUsage())
	st.Damaged, st.Unreadable = s.damage.lost.Load()+s.damage.nGone.Load(), s.damage.unread.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.OpenSessions = len(s.sessions)
	for _, f := range s.inflight {
		st.Chunks++
		st.PlainBytes += int64(f.entry.PlainLen)
		st.StoredBytes += int64(f.entry.RecordLen())
	}
	return st, nil
}

// packs calls fn for every pack that the index knows.
func (s *Store) packs(ctx context.Context, fn func(uint64, packInfo)) error {
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{keyPack}, UpperBound: []byte{keyPack + 1}})
	if err != nil {
		return fmt.Errorf("list packs in the index: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		n, info, err := parsePackEntry(it)
		if err != nil {
			return err
		}
		fn(n, info)
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("list packs in the index: %w", err)
	}
	return nil
}

func parsePackEntry(it *pebble.Iterator) (uint64, packInfo, error) {
	n, err := parsePackKey(it.Key())
	if err != nil {
		return 0, packInfo{}, err
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return 0, packInfo{}, fmt.Errorf("list packs in the index: %w", err)
	}
	info, err := parsePackInfo(v)
	return n, info, err
}
