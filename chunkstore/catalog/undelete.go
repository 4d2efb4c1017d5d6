package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

const (
	undeleteMapBytes = 8 << 20
	undeleteBatch    = 4096
)

// ErrPruned says that parts of a version are gone or damaged, as they are after a
// pruning.
var ErrPruned = errors.New("parts of it are not in the store any more")

// UndeleteOptions say how a version comes back. The zero value is the default.
type UndeleteOptions struct {
	Partly bool // also where not all of it is there any more
}

// returning is what holds of a version while Undelete is at work on it: it is not
// seen, and not doomed. No other act makes it; a crash leaves it, and then forget,
// unpin or another undelete ends it.
const returning = Forgotten | Pinned

// Undelete brings forgotten versions of a VM back, all or none of them, and
// returns the ids of those that were forgotten.
//
// A pruning may drop their roots at any moment, and an act by which such a version
// is not forgotten any more must never be written: an index that is made anew
// would show it. So the first act only keeps prunings from dropping them; then,
// where the roots are still there, each chunk of them is asked for, in a session;
// and only then the second act shows them.
func Undelete(ctx context.Context, s Keeper, vm string, opts UndeleteOptions, ids ...string) (back []string, err error) {
	held, err := hold(ctx, s, vm, ids)
	if err == nil {
		err = allBack(ctx, s, vm, held, opts)
	}
	if err == nil {
		err = release(ctx, s, vm, held, 0)
	} else if rerr := release(context.WithoutCancel(ctx), s, vm, held, Forgotten); rerr != nil {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return nil, fmt.Errorf("undelete versions: %w", err)
	}
	for _, e := range held {
		back = append(back, e.id)
	}
	return back, nil
}

// hold keeps prunings from dropping those of the versions that are forgotten, and
// returns them.
func hold(ctx context.Context, s Keeper, vm string, ids []string) (held []entry, err error) {
	err = decide(ctx, s, "undelete", vm, func(_ chunkstore.Session, m *marks) (entries []entry, err error) {
		held = nil
		for _, id := range ids {
			e, err := lookUp(ctx, s, m, vm, id)
			if err != nil {
				return nil, err
			}
			if !e.mark.Has(Forgotten) || slices.ContainsFunc(held, func(h entry) bool { return h.id == id }) {
				continue
			}
			if e.mark != returning {
				e.mark = returning
				entries = append(entries, e)
			}
			held = append(held, e)
		}
		return entries, nil
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

// allBack proves that the versions are there.
func allBack(ctx context.Context, s Keeper, vm string, held []entry, opts UndeleteOptions) error {
	if len(held) == 0 {
		return nil
	}
	ses, err := s.Begin(ctx, fmt.Sprintf("undelete of VM %q", vm))
	if err != nil {
		return err
	}
	defer ses.Close()
	for _, e := range held {
		if err := allThere(ctx, s, ses, vm, e.id, opts); err != nil {
			return fmt.Errorf("version %s of VM %q: %w", e.id, vm, err)
		}
	}
	return nil
}

// release says what is to hold of the versions that hold has kept. One of which
// somebody has said something else meanwhile is left as that has it.
func release(ctx context.Context, s Keeper, vm string, held []entry, to Mark) error {
	if len(held) == 0 {
		return nil
	}
	return decide(ctx, s, "undelete", vm, func(_ chunkstore.Session, m *marks) (entries []entry, err error) {
		for _, e := range held {
			if !slices.Contains(m.said[e.id], entry{e.id, e.of, returning}) {
				if to == 0 {
					return nil, fmt.Errorf("version %s of VM %q: another has decided on it meanwhile: %w", e.id, vm, ErrForgotten)
				}
				continue
			}
			entries = append(entries, entry{e.id, e.of, to})
		}
		return entries, nil
	})
}

// allThere asks for every chunk that a version is made of.
func allThere(ctx context.Context, s Keeper, ses chunkstore.Session, vm, id string, opts UndeleteOptions) error {
	body, err := s.Root(ctx, rootName(vm, id))
	if errors.Is(err, chunkstore.ErrNotFound) {
		return ErrNoVersion // a pruning came between
	}
	if err != nil {
		return err
	}
	v, err := decodeAs(body, vm, id)
	if err != nil {
		if opts.Partly {
			return nil
		}
		return errors.Join(ErrPruned, err)
	}
	a := asker{ses: ses, seen: map[pack.ID]bool{}, maps: disk.NewMaps(s, undeleteMapBytes)}
	for i := range v.Disks {
		err := a.disk(ctx, v.Disks[i].Map)
		var d *pack.Damage
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, chunkstore.ErrNotFound), errors.As(err, &d) && d.Kind != pack.Unreadable:
			a.gone++
			err = nil
		}
		if err != nil {
			return fmt.Errorf("disk %q: %w", v.Disks[i].Name, err)
		}
	}
	if err := a.ask(ctx); err != nil {
		return err
	}
	if a.gone > 0 && !opts.Partly {
		return fmt.Errorf("%w (%d chunks)", ErrPruned, a.gone)
	}
	return nil
}

// asker asks a session for chunks, many at a time.
type asker struct {
	ses  chunkstore.Session
	maps *disk.Maps
	seen map[pack.ID]bool // maps; 32 bytes for each 4 MiB of a disk
	ids  []pack.ID
	gone int
}

func (a *asker) disk(ctx context.Context, m disk.Map) error {
	r, err := disk.Open(nil, a.maps, m)
	if err != nil {
		return err
	}
	return r.Parts(ctx, func(p disk.Part) (bool, error) {
		if p.Kind != pack.KindData {
			if a.seen[p.ID] {
				return false, nil
			}
			a.seen[p.ID] = true
		}
		if a.ids = append(a.ids, p.ID); len(a.ids) < undeleteBatch {
			return true, nil
		}
		return true, a.ask(ctx)
	})
}

// ask asks for what has gathered.
func (a *asker) ask(ctx context.Context) error {
	have := make([]bool, len(a.ids))
	if err := a.ses.Has(ctx, a.ids, have); err != nil {
		return err
	}
	for _, ok := range have {
		if !ok {
			a.gone++
		}
	}
	a.ids = a.ids[:0]
	return nil
}
