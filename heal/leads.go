package heal

import (
	"context"
	"errors"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// leadsOf takes in where the index has every chunk of a VM's versions.
func (w *walk) leadsOf(ctx context.Context, vm string, leads *chunkstore.Leads) error {
	seen := 0
	err := w.versions(ctx, vm, func(v version, err error) error {
		seen++
		if err != nil {
			return nil // told by the look at what is hurt
		}
		_, err = w.leads(ctx, v, leads)
		return err
	})
	if err == nil && seen == 0 {
		err = catalog.ErrNoVM
	}
	return err
}

// packsOf returns the packs that the versions of a VM use.
func packsOf(ctx context.Context, store *chunkstore.Store, vm string) (map[uint64]bool, error) {
	leads := store.NewLeads()
	err := newWalk(store).leadsOf(ctx, vm, leads)
	return leads.Packs(), err
}

// leads takes in where the index has every chunk of a version. It goes on behind maps
// that can't be read, and reports whether it came to all there is.
func (w *walk) leads(ctx context.Context, v version, leads *chunkstore.Leads) (all bool, err error) {
	all = true
	for i := range v.Disks {
		lost := map[pack.ID]bool{}
		for {
			before := len(lost)
			ended, err := w.diskLeads(ctx, v.Disks[i].Map, leads, lost)
			if err != nil {
				return false, err
			}
			if ended || len(lost) == before {
				all = all && ended && len(lost) == 0
				break
			}
		}
	}
	return all, nil
}

// diskLeads is leads for a disk. It passes over lost maps, and ends at the first other
// one that can't be read, which it adds to them.
func (w *walk) diskLeads(ctx context.Context, m disk.Map, leads *chunkstore.Leads, lost map[pack.ID]bool) (all bool, err error) {
	r, err := disk.Open(nil, w.maps, m)
	if err != nil {
		return false, nil // told by the look at what is hurt, as is all that does not fit
	}
	var failed error // that has nothing to do with the maps
	var path []open
	all = true
	err = r.Parts(ctx, func(p disk.Part) (bool, error) {
		if p.Kind != pack.KindData {
			for len(path) > 0 && path[len(path)-1].end <= p.Off {
				w.clean.add(path[len(path)-1].id) // all below it is taken in
				path = path[:len(path)-1]
			}
			if w.clean.has(p.ID) || lost[p.ID] {
				return false, nil
			}
			if w.step != nil {
				if failed = w.step(ctx); failed != nil {
					return false, failed
				}
			}
		}
		var has bool
		if has, failed = leads.Add(ctx, p.ID); failed != nil {
			return false, failed
		}
		if !has {
			all = false
			if _, failed = w.unknown(p.ID); failed != nil {
				return false, failed
			}
		}
		if p.Kind != pack.KindData && has {
			path = append(path, open{id: p.ID, end: p.Off + p.Len})
		}
		return has, nil
	})
	switch d := (*pack.Damage)(nil); {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case failed != nil:
		return false, failed
	case errors.As(err, &d):
		lost[d.ID] = true
	}
	return all && err == nil, nil
}
