package catalog

import (
	"context"
	"errors"
	"fmt"

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

// Undelete brings forgotten versions of a VM back, all or none of them, and
// returns the ids of those that were forgotten. Every chunk of them must be there;
// the session asks for each, so none goes while it is at work.
func Undelete(ctx context.Context, s Keeper, vm string, opts UndeleteOptions, ids ...string) (back []string, err error) {
	err = decide(ctx, s, "undelete versions", vm, func(ses chunkstore.Session, m *marks) ([]entry, error) {
		back = nil
		var entries []entry
		for _, id := range ids {
			e, err := lookUp(ctx, s, m, vm, id)
			if err != nil {
				return nil, err
			}
			if !e.mark.Has(Forgotten) {
				continue
			}
			if err := allThere(ctx, s, ses, vm, id, opts); err != nil {
				return nil, fmt.Errorf("version %s of VM %q: %w", id, vm, err)
			}
			e.mark &^= Forgotten
			entries, back = append(entries, e), append(back, id)
		}
		return entries, nil
	})
	if err != nil {
		return nil, fmt.Errorf("undelete versions: %w", err)
	}
	// A pruning that came first has dropped the root before the act.
	for _, id := range back {
		if _, err := Get(ctx, s, vm, id); errors.Is(err, ErrNoVersion) {
			return nil, fmt.Errorf("undelete versions: it was pruned at the same moment: %w", err)
		}
	}
	return back, nil
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
