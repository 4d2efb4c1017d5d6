package main

import "context"

// catPacks reads the store's packs as fast as the machine does.
func (b *bench) catPacks(store string) contestant {
	return contestant{name: "cat the packs", run: func(ctx context.Context, _ int) (Sample, error) {
		return command(ctx, b.data.Bytes, nil, "sh", "-c", `cat "$1"/packs/??/*.pack >/dev/null`, "sh", store)
	}}
}

// quickScrub is held against reading the same packs.
func (b *bench) quickScrub(ctx context.Context, _ []peer) (*Road, error) {
	store, err := b.capturedStore(ctx)
	if err != nil {
		return nil, err
	}
	return &Road{unit: "MB/s", contestants: []contestant{
		b.catPacks(store),
		{name: "holdfast scrub", run: func(ctx context.Context, _ int) (Sample, error) { return b.holdfast(ctx, store, "scrub", "--quick") }},
	}}, nil
}

// deepScrub is held against reading the same packs, beside the peers' checks of
// the same data.
func (b *bench) deepScrub(ctx context.Context, peers []peer) (*Road, error) {
	store, err := b.capturedStore(ctx)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: "MB/s", contestants: []contestant{
		b.catPacks(store),
		{name: "holdfast scrub --deep", run: func(ctx context.Context, _ int) (Sample, error) { return b.holdfast(ctx, store, "scrub", "--deep") }},
	}}
	for _, p := range peers {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
		r.contestants = append(r.contestants, contestant{name: p.name + " check of all data", run: p.check})
	}
	return r, nil
}
