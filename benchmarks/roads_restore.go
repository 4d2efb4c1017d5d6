package main

import "context"

var restoreRoads = []entry{
	{"restore to a raw file", "restore", true, (*bench).restore},
}

func (b *bench) restore(ctx context.Context) (*Road, error) {
	d := b.web
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		b.copied(d),
		{name: "holdfast", prepare: b.remove("restored.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, d.data, store, "restore", d.name, b.path("restored.raw"))
		}, finish: func() error { return removeFile(b.path("restored.raw")) }},
	}, goals: []Goal{
		atLeast("holdfast", "restic", byRate, 3),
		atLeast("holdfast", "borg", byRate, 3),
	}}
	for _, p := range b.peers(d) {
		r.contestants = append(r.contestants, contestant{name: p.name, peer: true, prepare: func(ctx context.Context, round int) error {
			if err := b.remove("peer-out")(ctx, round); err != nil {
				return err
			}
			return p.ready(ctx)
		}, run: p.restore, finish: func() error { return b.remove("peer-out")(context.Background(), 0) }})
	}
	return r, nil
}
