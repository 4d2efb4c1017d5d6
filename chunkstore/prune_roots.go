package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

func droppedKey(name string) []byte { return append([]byte{keyDropped}, name...) }

// isDropped reports whether a root was dropped and its record may still lie in
// a pack.
func (s *Store) isDropped(name string) (bool, error) {
	is, err := s.hasKey(droppedKey(name))
	if err != nil {
		return false, fmt.Errorf("root %q: %w", name, err)
	}
	return is, nil
}

// isLostRoot reports whether a root whose record lies in a pack should be in
// the index and is not.
func (s *Store) isLostRoot(ctx context.Context, name string) (bool, error) {
	if _, err := s.Root(ctx, name); !errors.Is(err, ErrNotFound) {
		return false, err
	}
	dropped, err := s.isDropped(name)
	return !dropped, err
}

// allRoots shows the roots that are visible, and those that were dropped and
// are not gone yet: an index that is made anew would show them again.
type allRoots struct{ *Store }

// Root implements Roots.
func (a allRoots) Root(ctx context.Context, name string) ([]byte, error) {
	body, err := a.Store.Root(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return body, err
	}
	v, closer, gerr := a.index.Get(droppedKey(name))
	if errors.Is(gerr, pebble.ErrNotFound) {
		return nil, err
	}
	if gerr != nil {
		return nil, fmt.Errorf("root %q: %w", name, gerr)
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// Memo is none: what the store keeps was made of fewer roots.
func (allRoots) Memo() *Memo { return nil }

// Roots implements Roots. The dropped ones are few and held in memory, by name.
func (a allRoots) Roots(ctx context.Context, prefix, from string, fn func(name string, body []byte) bool) error {
	var dropped []string
	err := a.eachKey(ctx, keyDropped, func(k, _ []byte) error {
		if name := string(k); strings.HasPrefix(name, prefix) && name >= from {
			dropped = append(dropped, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	more := true
	var failed error
	give := func(before string, all bool) {
		for more && failed == nil && len(dropped) > 0 && (all || dropped[0] < before) {
			var body []byte
			if body, failed = a.Root(ctx, dropped[0]); failed == nil {
				more = fn(dropped[0], body)
			}
			dropped = dropped[1:]
		}
	}
	err = a.Store.Roots(ctx, prefix, from, func(name string, body []byte) bool {
		if give(name, false); more && failed == nil {
			more = fn(name, body)
		}
		return more && failed == nil
	})
	if err == nil {
		give("", true)
		err = failed
	}
	return err
}

// drop makes the doomed roots invisible, in one synced batch. Their records stay
// in their packs until these are written anew, and 'z' keys say so until then.
func (p *pruner) drop(ctx context.Context) error {
	if p.opts.Doomed == nil {
		return nil
	}
	p.rootMu.Lock()
	defer p.rootMu.Unlock()
	names, err := p.opts.Doomed(ctx, allRoots{p.Store})
	if err != nil {
		return fmt.Errorf("find what to drop: %w", err)
	}
	b := p.index.NewBatch()
	defer b.Close()
	for _, name := range names {
		body, err := p.Root(ctx, name)
		if errors.Is(err, ErrNotFound) {
			continue // dropped before
		}
		if err != nil {
			return err
		}
		err = errors.Join(b.Delete(rootKey(name), nil), b.Delete(stateKey(name), nil), b.Delete(walkedKey(name), nil), b.Set(droppedKey(name), body, nil))
		if err != nil {
			return fmt.Errorf("drop root %q: %w", name, err)
		}
		p.report.Dropped = append(p.report.Dropped, name)
		p.report.Roots++
	}
	if b.Empty() {
		return nil
	}
	defer p.memo.changing(names...)()
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("drop roots: %w", err)
	}
	return nil
}

// droppedRecords calls fn with the name and the record's id of each root that
// was dropped and is not gone.
func (s *Store) droppedRecords(ctx context.Context, fn func(name string, id ID) error) error {
	return s.eachKey(ctx, keyDropped, func(k, v []byte) error {
		plain, err := encodeRoot(string(k), v)
		if err != nil {
			return fmt.Errorf("dropped root %q: %w", k, err)
		}
		return fn(string(k), s.codec.ID(plain))
	})
}

// forgetDropped forgets the dropped roots of which no record is left in any
// pack. A pack with records to which the index does not lead may hold one.
func (p *pruner) forgetDropped() error {
	if p.report.PutOff > 0 || p.left {
		return nil
	}
	return p.droppedRecords(context.Background(), func(name string, id ID) error {
		if _, ok, err := p.lookup(id); err != nil || ok {
			return err
		}
		if err := p.index.Delete(droppedKey(name), pebble.NoSync); err != nil {
			return fmt.Errorf("forget root %q: %w", name, err)
		}
		return nil
	})
}
