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

// namesAtOnce is how many names of roots are held at a time.
const namesAtOnce = 1024

func walkedKey(name string) []byte { return append([]byte{keyWalked}, name...) }

// mark collects every live chunk: each root that is not walked yet is walked,
// each distinct map once. Stopped in good order, it is taken up where it was.
func (p *pruner) mark(ctx context.Context) (err error) {
	p.phase("mark", 0)
	if p.spill == nil {
		if p.spill, err = newSpill(p.fs, p.spillPath(), 0); err != nil {
			return err
		}
		if err = p.clearKeys(string([]byte{keyCondemned, keyWalked, keySeen})); err != nil {
			return err
		}
		p.state = pruneState{Generation: p.state.Generation + 1}
	}
	p.state.Phase, p.state.Clean = phaseMarking, false
	if err := p.setPruneState(p.state, pebble.Sync); err != nil {
		return err
	}
	m := &marker{pruner: p, seen: keySeen, found: func(id ID) error { return p.spill.add(prefixOf(id)) }}
	err = m.roots(ctx)
	if ferr := p.spill.flush(); ferr != nil {
		return errors.Join(err, ferr) // not in good order: the next one begins anew
	}
	p.state.Runs, p.state.NextRun = p.spill.runs, p.spill.next
	if err != nil {
		p.state.Clean = ctx.Err() != nil
		return errors.Join(err, p.setPruneState(p.state, pebble.Sync))
	}
	p.state.Phase = phaseMarked
	return p.setPruneState(p.state, pebble.Sync)
}

// marker walks roots and hands every chunk that they lead to, once or more
// often, to found. Maps that were walked are remembered in the index, with the
// number of the root's walk: those of a walk that did not come to its end do not
// count.
type marker struct {
	*pruner
	seen   byte // letter of the keys of maps that were walked
	found  func(ID) error
	recent [1 << 12]ID // maps that were walked, at a place by their ids
	n      int         // chunks found
}

// roots walks every root that is not walked yet.
func (m *marker) roots(ctx context.Context) error {
	if m.state.Walk > 0 { // of the last walk nobody knows whether it was the end
		m.state.Broken = append(m.state.Broken, m.state.Walk)
	}
	for from := ""; ; {
		names, err := m.rootNames(ctx, from)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := m.root(ctx, name); err != nil {
				return err
			}
		}
		from = names[len(names)-1] + "\x00"
	}
}

func (s *Store) rootNames(ctx context.Context, from string) (names []string, err error) {
	err = s.Roots(ctx, "", from, func(name string, _ []byte) bool {
		names = append(names, name)
		return len(names) < namesAtOnce
	})
	return names, err
}

// root walks one root, unless it was walked.
func (m *marker) root(ctx context.Context, name string) error {
	_, closer, err := m.index.Get(walkedKey(name))
	if err == nil {
		return closer.Close()
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return fmt.Errorf("root %q: %w", name, err)
	}
	body, err := m.Root(ctx, name)
	if err != nil {
		return err
	}
	m.state.Walk++
	if err := m.setPruneState(m.state, pebble.NoSync); err != nil {
		return err
	}
	if err := m.walk(ctx, name, body); err != nil {
		return err
	}
	if err := m.index.Set(walkedKey(name), nil, pebble.NoSync); err != nil {
		return fmt.Errorf("root %q: %w", name, err)
	}
	return nil
}

// walk walks one root and what it leads to.
func (m *marker) walk(ctx context.Context, name string, body []byte) error {
	plain, err := encodeRoot(name, body)
	if err != nil {
		return fmt.Errorf("root %q: %w", name, err)
	}
	if err := m.found(m.codec.ID(plain)); err != nil {
		return err
	}
	if m.opts.Walk != nil {
		if err := m.opts.Walk(ctx, name, body, m.visitor(ctx)); err != nil {
			return fmt.Errorf("what %q leads to is not known, so nothing can be freed (scrub --repair may mend it): %w", name, err)
		}
	}
	m.report.Walked++
	return nil
}

func (m *marker) visitor(ctx context.Context) Visit {
	return func(id ID, kind pack.Kind) (bool, error) {
		if m.n++; m.n%1024 == 0 {
			if err := m.breathe(ctx); err != nil {
				return false, err
			}
		}
		if kind.Meta() {
			return m.visitMap(id)
		}
		m.step(1)
		return false, m.found(id)
	}
}

// visitMap reports whether a map is to be walked.
func (m *marker) visitMap(id ID) (bool, error) {
	near := &m.recent[binary.LittleEndian.Uint64(id[24:])%uint64(len(m.recent))]
	if *near == id {
		return false, nil
	}
	key := append([]byte{m.seen}, id[:]...)
	v, closer, err := m.index.Get(key)
	switch {
	case err == nil:
		walk, _ := binary.Uvarint(v)
		closer.Close()
		if !slices.Contains(m.state.Broken, walk) {
			*near = id
			return false, nil
		}
	case !errors.Is(err, pebble.ErrNotFound):
		return false, fmt.Errorf("look up map %v: %w", id, err)
	}
	if err := m.index.Set(key, binary.AppendUvarint(nil, m.state.Walk), pebble.NoSync); err != nil {
		return false, fmt.Errorf("remember map %v: %w", id, err)
	}
	*near = id
	m.report.Maps++
	m.step(1)
	return true, m.found(id)
}
