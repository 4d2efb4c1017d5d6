package main

import (
	"context"
	"errors"
	"os"
)

var besideRoads = []entry{
	{"capture beside a background scrub", "scrub", false, (*bench).captureBeside},
	{"what parity costs a capture", "scrub", true, (*bench).parityCost},
	{"replicate", "scrub", true, (*bench).replicated},
}

// captureBeside captures into a store that a mount has open, of which no pack is
// proved: its scrub has work, and new packs come.
func (b *bench) captureBeside(ctx context.Context) (*Road, error) {
	store, err := b.captured(ctx, b.web)
	if err != nil {
		return nil, err
	}
	d, err := b.bootDisk()
	if err != nil {
		return nil, err
	}
	beside := func(name string, flags ...string) contestant {
		var m *mounted
		return contestant{name: name, prepare: func(ctx context.Context, _ int) error {
			if err := b.without("beside"); err != nil {
				return err
			}
			if _, err := command(ctx, 0, nil, "cp", "-a", "--reflink=auto", store, b.path("beside")); err != nil {
				return err
			}
			if err := os.RemoveAll(b.path("beside", "index")); err != nil { // and with it all proofs
				return err
			}
			dir := b.path("mnt-beside")
			var err error
			m, err = serve(ctx, []string{"HOLDFAST_STORE=" + b.path("beside")}, dir, dir+"/"+b.web.name, b.binary, append(append([]string{"mount"}, flags...), dir)...)
			return err
		}, run: func(ctx context.Context, _ int) (Sample, error) {
			return m.measure(func() (Sample, error) { return b.captureInto(ctx, b.path("beside"), d, d.name) })
		}, finish: func() error {
			if m == nil {
				return nil
			}
			return errors.Join(m.stop(), b.without("beside"))
		}}
	}
	alone, scrubbed := "holdfast, --no-scrub", "holdfast, beside a scrub"
	return &Road{unit: rateUnit, about: "boot, its data bytes, into a store that a mount has open", contestants: []contestant{
		beside(alone, "--no-scrub"), beside(scrubbed),
	}, goals: []Goal{atLeast(scrubbed, alone, byRate, 0.9)}}, nil
}

// parityCost is a first capture with parity and without.
func (b *bench) parityCost(context.Context) (*Road, error) {
	into := func(name string, flags ...string) contestant {
		c := b.capturing(name, b.web)
		c.prepare = func(ctx context.Context, _ int) error {
			_, err := b.freshStore(ctx, "first", flags...)
			return err
		}
		return c
	}
	bare, whole := "holdfast, --no-parity", "holdfast, with parity"
	return &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		into(bare, "--no-parity"), into(whole),
	}, goals: []Goal{atLeast(whole, bare, byRate, 0.9)}}, nil
}

// replicated is a first copy of a store to a replica, which proves every chunk on
// both ends, beside cp of its packs.
func (b *bench) replicated(ctx context.Context) (*Road, error) {
	store, err := b.captured(ctx, b.web)
	if err != nil {
		return nil, err
	}
	plain, err := b.plainBytes(ctx, store)
	to := b.path("replica")
	return &Road{unit: rateUnit, about: "web, its plain bytes", contestants: []contestant{
		{name: "cp of the packs and sync", prepare: b.remove("packs-copy"), run: func(ctx context.Context, _ int) (Sample, error) {
			return command(ctx, plain, nil, "sh", "-c", `cp -r "$1/packs" "$2" && sync -f "$2"`, "sh", store, b.path("packs-copy"))
		}, finish: func() error { return b.without("packs-copy") }},
		{name: "holdfast replicate", prepare: func(ctx context.Context, _ int) error {
			if err := b.without("replica"); err != nil {
				return err
			}
			_, err := b.holdfast(ctx, 0, store, "replica", "add", to)
			return err
		}, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, plain, store, "replicate")
		}, finish: func() error {
			_, err := b.holdfast(context.Background(), 0, store, "replica", "remove", to)
			return errors.Join(err, b.without("replica"))
		}},
	}}, err
}
