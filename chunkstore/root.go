package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// A root's record holds, as plain bytes: name length u16, name, body.

func encodeRoot(name string, body []byte) ([]byte, error) {
	if name == "" || len(name) > MaxRootName {
		return nil, fmt.Errorf("root name of %d bytes, want 1 to %d", len(name), MaxRootName)
	}
	if len(body) > MaxRootBody {
		return nil, fmt.Errorf("root body of %d bytes, at most %d fit", len(body), MaxRootBody)
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(name)))
	b = append(b, name...)
	return append(b, body...), nil
}

func decodeRoot(plain []byte) (root, error) {
	if len(plain) < 2 {
		return root{}, fmt.Errorf("root record of %d bytes", len(plain))
	}
	n := int(binary.LittleEndian.Uint16(plain))
	if n == 0 || n > MaxRootName || 2+n > len(plain) {
		return root{}, fmt.Errorf("root record: name of %d bytes in a record of %d", n, len(plain))
	}
	return root{name: string(plain[2 : 2+n]), body: plain[2+n:]}, nil
}

// Root implements Roots.
func (s *Store) Root(_ context.Context, name string) ([]byte, error) {
	v, closer, err := s.index.Get(rootKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("root %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("root %q: %w", name, err)
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// RootID returns the id of the chunk that is the record of a root.
func (s *Store) RootID(ctx context.Context, name string) (ID, error) {
	body, err := s.Root(ctx, name)
	if err != nil {
		return ID{}, err
	}
	plain, err := encodeRoot(name, body)
	if err != nil {
		return ID{}, err
	}
	return s.codec.ID(plain), nil
}

// Roots implements Roots.
func (s *Store) Roots(ctx context.Context, prefix, from string, fn func(name string, body []byte) bool) error {
	lower := rootKey(max(prefix, from))
	it, err := s.index.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(rootKey(prefix))})
	if err != nil {
		return fmt.Errorf("list roots: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			it.Close()
			return fmt.Errorf("list roots: %w", err)
		}
		if !fn(string(it.Key()[1:]), v) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("list roots: %w", err)
	}
	return nil
}

// prefixEnd returns the first key behind all keys with the prefix; the prefix
// begins with a key letter, which is never 0xff.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// commit makes root name visible, with everything that was put before it. lost
// is the store's count of lost packs when its session began.
func (s *Store) commit(ctx context.Context, name string, body []byte, lost int) error {
	plain, err := encodeRoot(name, body)
	if err != nil {
		return err
	}
	if err := s.reserve(name); err != nil {
		return err
	}
	defer s.unreserve(name)
	if err := s.writers[pack.ClassData].drain(); err != nil {
		return fmt.Errorf("make chunks durable: %w", err)
	}
	if err := s.lostSince(lost); err != nil {
		return err
	}
	return s.writers[pack.ClassMeta].commitRoot(ctx, root{name, body}, plain, lost)
}

// lostSince fails when a pack was lost since the store counted lost ones.
func (s *Store) lostSince(lost int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != lost {
		return fmt.Errorf("chunks written since this began could not be made durable (%w); begin again: what is stored is used again", s.lostErr)
	}
	return nil
}

// reserve keeps a name for one commit at a time.
func (s *Store) reserve(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] {
		return fmt.Errorf("root %q: %w", name, ErrRootExists)
	}
	_, closer, err := s.index.Get(rootKey(name))
	if err == nil {
		closer.Close()
		return fmt.Errorf("root %q: %w", name, ErrRootExists)
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return fmt.Errorf("root %q: %w", name, err)
	}
	if dropped, err := s.isDropped(name); err != nil {
		return err
	} else if dropped {
		// Two records of one name must not lie in the packs: an index made
		// anew could not tell which one counts.
		return fmt.Errorf("root %q was dropped and is not gone yet: %w", name, ErrRootExists)
	}
	s.names[name] = true
	return nil
}

func (s *Store) unreserve(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, name)
}

// commitRoot makes the maps that were put before it durable, then appends the
// root's record to a meta pack and seals that. The root becomes visible with
// the pack's batch.
func (w *writer) commitRoot(ctx context.Context, r root, plain []byte, lost int) error {
	w.store.rootMu.RLock()
	defer w.store.rootMu.RUnlock()
	rec := w.store.codec.Encode(nil, pack.KindRoot, w.store.codec.ID(plain), plain)
	p, err := w.appendRoot(ctx, rec, lost)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := w.finish(p, []root{r}); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// appendRoot waits until no other meta pack is pending, appends the record to
// the active one and retires it. A root therefore lies in a pack of which all
// else that it needs is durable, or lies in the same pack before it. It looks
// for lost packs before it appends: a root in a finished pack becomes visible
// whenever the index is made anew.
func (w *writer) appendRoot(ctx context.Context, rec pack.Record, lost int) (*openPack, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > 0 {
		q := w.pending[0]
		w.mu.Unlock()
		select {
		case <-q.done:
			w.mu.Lock()
		case <-ctx.Done():
			w.mu.Lock()
			return nil, ctx.Err()
		}
	}
	if err := w.store.lostSince(lost); err != nil {
		return nil, err
	}
	if w.active == nil {
		p, err := w.store.newPack(w.class)
		if err != nil {
			return nil, err
		}
		w.active = p
	}
	_, err := w.active.Append(rec)
	p := w.retire()
	if err != nil {
		w.store.lose(p, err)
		w.finished(p, err)
		return nil, err
	}
	return p, nil
}
