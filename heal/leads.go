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

// leads takes in where the index has every chunk of a version, and the pack of its
// manifest. It goes on behind maps that don't come, and reports whether it came to all there
// is.
func (w *walk) leads(ctx context.Context, v version, leads *chunkstore.Leads) (all bool, err error) {
	if err := leads.AddRoot(ctx, catalog.RootName(v.vm, v.id)); err != nil {
		return false, err
	}
	all = true
	for i := range v.Disks {
		ended, err := w.diskLeads(ctx, v.Disks[i].Map, leads)
		if err != nil {
			return false, err
		}
		all = all && ended
	}
	return all, nil
}

const (
	// dataAtOnce is how many chunks of data are looked up at once to begin with: those of
	// 50 MiB or so, that there soon are packs to prove.
	dataAtOnce = 1 << 11
	// mostAtOnce is how many it comes to, growAtOnce times as many each time: the more, the
	// fewer blocks of the index are read more than once. They take 2 MiB.
	mostAtOnce = 1 << 15
	growAtOnce = 16
)

// dataLeads are chunks of data that are not taken in yet, and the maps that are
// clean when they are.
type dataLeads struct {
	*walk
	leads *chunkstore.Leads
	ids   []pack.ID
	maps  []pack.ID
}

// flush takes them in, and reports whether the index has all of them.
func (d *dataLeads) flush(ctx context.Context) (all bool, err error) {
	lacking, err := d.leads.AddAll(ctx, d.ids)
	if err != nil {
		return false, err
	}
	for _, id := range lacking {
		if _, err := d.unknown(id); err != nil {
			return false, err
		}
	}
	for _, id := range d.maps {
		d.clean.add(id)
	}
	d.ids, d.maps = d.ids[:0], d.maps[:0]
	if d.step == nil && d.batch < mostAtOnce { // one that waits its turn stays with little work at once
		d.batch = min(growAtOnce*d.batch, mostAtOnce)
	}
	return len(lacking) == 0, nil
}

// diskLeads is leads for a disk.
func (w *walk) diskLeads(ctx context.Context, m disk.Map, leads *chunkstore.Leads) (all bool, err error) {
	r, err := disk.Open(nil, w.maps, m)
	if err != nil {
		return false, nil // told by the look at what is hurt, as is all that does not fit
	}
	data := &dataLeads{walk: w, leads: leads}
	var failed error // that has nothing to do with the maps
	var path []open
	all = true
	flush := func() error {
		var has bool
		has, failed = data.flush(ctx)
		all = all && has
		return failed
	}
	err = r.Parts(ctx, func(p disk.Part) (bool, error) {
		if p.Kind == pack.KindData {
			if data.ids = append(data.ids, p.ID); len(data.ids) < w.batch {
				return false, nil
			}
			return false, flush()
		}
		for len(path) > 0 && path[len(path)-1].end <= p.Off {
			data.maps = append(data.maps, path[len(path)-1].id) // all below it is among data
			path = path[:len(path)-1]
		}
		if w.clean.has(p.ID) {
			return false, nil
		}
		var has bool
		if has, failed = leads.Add(ctx, p.ID); failed != nil {
			return false, failed
		}
		if !has {
			all = false
			_, failed = w.unknown(p.ID)
			return false, failed
		}
		var comes bool
		if comes, failed = w.comes(ctx, p.ID); !comes || failed != nil {
			all = false
			return false, failed
		}
		path = append(path, open{id: p.ID, end: p.Off + p.Len})
		return true, nil
	})
	if failed == nil && ctx.Err() == nil {
		failed = flush()
	}
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case failed != nil:
		return false, failed
	}
	return all && err == nil, nil
}

// comes reports whether a map that the index has can be read. One that is known to be
// lost is not read again, by no version: only a proof of its pack ends its damage.
func (w *walk) comes(ctx context.Context, id pack.ID) (bool, error) {
	if w.fresh[id] {
		return false, nil
	}
	_, lost, err := w.store.DamageOf(id)
	if err != nil {
		return false, err
	}
	if !lost {
		if w.step != nil {
			if err := w.step(ctx); err != nil {
				return false, err
			}
		}
		err := w.maps.Fetch(ctx, id)
		if d := (*pack.Damage)(nil); !errors.As(err, &d) {
			return err == nil, ctx.Err() // what does not fit is told by the look at what is hurt
		}
	}
	if w.fresh == nil {
		w.fresh = map[pack.ID]bool{}
	}
	w.fresh[id] = true
	return false, nil
}

// cameBack reports whether a map that did not come is not known to be damaged any
// more: what lies behind it was not taken in.
func (w *walk) cameBack() (bool, error) {
	for id := range w.fresh {
		if _, lost, err := w.store.DamageOf(id); err != nil || !lost {
			return err == nil, err
		}
	}
	return false, nil
}
