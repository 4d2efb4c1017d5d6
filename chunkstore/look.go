package chunkstore

import (
	"context"
	"errors"
)

// look is the set of chunks that roots lead to, collected without changing what
// a prune under way remembers.
type look struct {
	*Store
	spill        *spill
	walked, maps int64
}

// lookAt walks every root but those to skip. dir is for the set, beside the
// store's other directories. The caller removes the look.
func (p *pruner) lookAt(ctx context.Context, dir string, skip func(name string) bool) (*look, error) {
	p.phase("mark", 0)
	sp, err := newSpill(p.fs, p.fs.PathJoin(p.dir, dir), 0)
	if err != nil {
		return nil, err
	}
	l := &look{Store: p.Store, spill: sp}
	if err := p.clearKeys(string(rune(keyLooked))); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	q := &pruner{Store: p.Store, opts: p.opts, report: new(PruneReport)}
	m := &marker{pruner: q, seen: keyLooked, found: func(id ID) error { return sp.add(prefixOf(id)) }}
	if err := m.everyRoot(ctx, skip); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	l.walked, l.maps = q.report.Walked, q.report.Maps
	return l, nil
}

func (m *marker) everyRoot(ctx context.Context, skip func(name string) bool) error {
	for from := ""; ; {
		names, err := m.rootNames(ctx, from)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if skip(name) {
				continue
			}
			body, err := m.Root(ctx, name)
			if errors.Is(err, ErrNotFound) {
				continue // dropped meanwhile
			}
			if err == nil {
				err = m.walk(ctx, name, body)
			}
			if err != nil {
				return err
			}
		}
		from = names[len(names)-1] + "\x00"
	}
}

func (l *look) remove() error {
	return errors.Join(l.spill.remove(), l.clearKeys(string(rune(keyLooked))))
}
