package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

var scrubRoads = []entry{
	{"quick scrub", "scrub", true, (*bench).quickScrub},
	{"deep scrub", "scrub", true, (*bench).deepScrub},
}

const (
	ourQuick = "holdfast scrub"
	ourDeep  = "holdfast scrub --deep"
	catPacks = "cat the packs"
	// scrubMemory is what a scrub may hold in all, the program and its index
	// included: what it holds of the store itself is in go doc holdfast/heal.
	scrubMemory = 256 // MiB
)

// plainBytes is how much the chunks of a store hold.
func (b *bench) plainBytes(ctx context.Context, store string) (int64, error) {
	cmd := exec.CommandContext(ctx, b.binary, "--store", store, "status", "--json")
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("status of %s: %w", store, err)
	}
	var st struct {
		Plain int64 `json:"plain_bytes"`
	}
	if err := json.Unmarshal(out, &st); err != nil || st.Plain <= 0 {
		return 0, fmt.Errorf("status of %s: %d plain bytes, %w", store, st.Plain, err)
	}
	return st.Plain, nil
}

// catting reads the store's packs as fast as the machine does.
func catting(store string, bytes int64) contestant {
	return contestant{name: catPacks, run: func(ctx context.Context, _ int) (Sample, error) {
		return command(ctx, bytes, nil, "sh", "-c", `cat "$1"/packs/??/*.pack >/dev/null`, "sh", store)
	}}
}

// quickScrub is held against reading the same packs, start and end of the
// program included; half is large enough for them not to count.
func (b *bench) quickScrub(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	plain, err := b.plainBytes(ctx, store)
	return &Road{unit: rateUnit, about: "half, its plain bytes", contestants: []contestant{
		catting(store, plain),
		{name: ourQuick, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, plain, store, "scrub", "--quick")
		}},
	}, goals: []Goal{
		atLeast(ourQuick, catPacks, byRate, 0.9),
		atMost(ourQuick, "", byMemory, scrubMemory),
	}}, err
}

// deepScrub is held against decoding and hashing the same frames in memory, beside
// the peers' checks of the same disk.
func (b *bench) deepScrub(ctx context.Context) (*Road, error) {
	store, err := b.captured(ctx, b.web)
	if err != nil {
		return nil, err
	}
	plain, err := b.plainBytes(ctx, store)
	if err != nil {
		return nil, err
	}
	bounds, err := scrubBounds(store)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its plain bytes", contestants: append(bounds,
		catting(store, plain),
		contestant{name: ourDeep, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, plain, store, "scrub", "--deep")
		}},
	), goals: []Goal{
		atLeast(ourDeep, boundFrames, byRate, 0.8),
		atMost(ourDeep, "", byMemory, scrubMemory),
	}}
	for _, p := range b.peers(b.web) {
		if p.check == nil {
			continue
		}
		name := p.name + " check of all data"
		r.contestants = append(r.contestants, contestant{name: name, peer: true, prepare: func(ctx context.Context, _ int) error { return p.ready(ctx) }, run: func(ctx context.Context, round int) (Sample, error) {
			s, err := p.check(ctx, round)
			s.Bytes = plain
			return s, err
		}})
		if p.name == "restic" || p.name == "borg" {
			r.goals = append(r.goals, atLeast(ourDeep, name, byRate, 3))
		}
	}
	return r, nil
}

// without is a prepare that removes directories of the run.
func (b *bench) without(names ...string) error {
	for _, n := range names {
		if err := os.RemoveAll(b.path(n)); err != nil {
			return err
		}
	}
	return nil
}
