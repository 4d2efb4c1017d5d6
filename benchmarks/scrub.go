package main

import "context"

var scrubRoads = []entry{
	{"quick scrub", "scrub", true, (*bench).quickScrub},
	{"deep scrub", "scrub", true, (*bench).deepScrub},
}

// catPacks reads the store's packs as fast as the machine does.
func (b *bench) catPacks(store string) contestant {
	return contestant{name: "cat the packs", run: func(ctx context.Context, _ int) (Sample, error) {
		return command(ctx, b.web.data, nil, "sh", "-c", `cat "$1"/packs/??/*.pack >/dev/null`, "sh", store)
	}}
}

// quickScrub is held against reading the same packs.
func (b *bench) quickScrub(ctx context.Context) (*Road, error) {
	store, err := b.captured(ctx, b.web)
	if err != nil {
		return nil, err
	}
	return &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		b.catPacks(store),
		{name: "holdfast scrub", run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, b.web.data, store, "scrub", "--quick")
		}},
	}}, nil
}

// deepScrub is held against reading the same packs, beside the peers' checks of
// the same data.
func (b *bench) deepScrub(ctx context.Context) (*Road, error) {
	store, err := b.captured(ctx, b.web)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		b.catPacks(store),
		{name: "holdfast scrub --deep", run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, b.web.data, store, "scrub", "--deep")
		}},
	}}
	for _, p := range b.peers(b.web) {
		if p.check != nil {
			r.contestants = append(r.contestants, contestant{name: p.name + " check of all data", peer: true, prepare: func(ctx context.Context, _ int) error { return p.ready(ctx) }, run: p.check})
		}
	}
	return r, nil
}
