package main

import (
	"context"
)

var captureRoads = []entry{
	{"first capture", "capture", true, (*bench).firstCapture},
	{"first capture along the files", "capture", true, (*bench).fileCut},
	{"second capture, nothing changed", "capture", true, (*bench).secondCapture},
}

// copied is cp of a disk, until it is on the disk as our captures and restores are.
func (b *bench) copied(d disk) contestant {
	return contestant{name: "cp and sync", prepare: b.remove("copy.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
		return command(ctx, d.data, nil, "sh", "-c", `cp "$1" "$2" && sync "$2"`, "sh", d.path, b.path("copy.raw"))
	}, finish: func() error { return removeFile(b.path("copy.raw")) }}
}

// capturing is a first capture into an empty store.
func (b *bench) capturing(name string, d disk, flags ...string) contestant {
	return contestant{name: name, prepare: func(ctx context.Context, _ int) error {
		_, err := b.freshStore(ctx, "first")
		return err
	}, run: func(ctx context.Context, _ int) (Sample, error) {
		return b.holdfast(ctx, d.data, b.path("first"), append(append([]string{"capture", "--vm", d.name}, flags...), "vda="+d.path)...)
	}}
}

func (b *bench) firstCapture(context.Context) (*Road, error) {
	d := b.web
	r := &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{b.copied(d), b.capturing("holdfast", d)}, goals: []Goal{
		atLeast("holdfast", "restic", byRate, 5),
		atLeast("holdfast", "borg", byRate, 5),
		atMost("holdfast", "", byMemory, 256),
	}}
	for _, p := range b.peers(d) {
		r.contestants = append(r.contestants, contestant{name: p.name, peer: true, prepare: p.init, run: p.backup})
	}
	return r, nil
}

// fileCut holds the cut along the guest's files, free space left out, against
// the grid.
func (b *bench) fileCut(context.Context) (*Road, error) {
	return &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		b.capturing("holdfast, on the grid", b.web, "--cut", "grid", "--keep-free", "--keep-swap"),
		b.capturing("holdfast, along the files", b.web),
	}}, nil
}

func (b *bench) secondCapture(ctx context.Context) (*Road, error) {
	d := b.web
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes, without tracking", contestants: []contestant{
		b.copied(d),
		{name: "holdfast", run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, d.data, store, "capture", "--vm", d.name, "vda="+d.path)
		}},
	}, goals: []Goal{
		atLeast("holdfast", "restic", byRate, 10),
		atLeast("holdfast", "borg", byRate, 10),
	}}
	for _, p := range b.peers(d) {
		r.contestants = append(r.contestants, contestant{name: p.name, peer: true, prepare: func(ctx context.Context, _ int) error { return p.ready(ctx) }, run: p.backup})
	}
	return r, nil
}
