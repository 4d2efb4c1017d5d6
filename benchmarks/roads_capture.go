package main

import (
	"context"
	"fmt"
	"os"

	"holdfast/tests/vm"
)

var captureRoads = []entry{
	{"first capture", "capture", true, (*bench).firstCapture},
	{"first capture, half-compressible", "capture", true, (*bench).firstCaptureHalf},
	{"first capture along the files", "capture", false, (*bench).fileCut},
	{"second capture, nothing changed", "capture", true, (*bench).secondCapture},
	{"second capture, half-compressible", "capture", true, (*bench).secondCaptureHalf},
	{"second capture, 1 % changed", "capture", true, (*bench).changedCapture},
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
		return b.captureInto(ctx, b.path("first"), d, d.name, flags...)
	}, finish: func() error { return os.RemoveAll(b.path("first")) }}
}

// again captures a disk into a store that has a version of it.
func (b *bench) again(name, store string, d disk) contestant {
	return contestant{name: name, run: func(ctx context.Context, _ int) (Sample, error) {
		return b.captureInto(ctx, store, d, d.name)
	}}
}

func (b *bench) captureInto(ctx context.Context, store string, d disk, vm string, flags ...string) (Sample, error) {
	return b.holdfast(ctx, d.data, store, append(append([]string{"capture", "--vm", vm}, flags...), "vda="+d.path)...)
}

func (b *bench) firstCapture(context.Context) (*Road, error) {
	d := b.web
	extents, err := dataExtents(d.path)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		b.capturesAtBest(d.path, extents), b.capturing("holdfast", d), b.copied(d),
	}, goals: []Goal{
		atLeast("holdfast", boundCapture, byRate, 0.7),
		atLeast("holdfast", "restic", byRate, 5),
		atLeast("holdfast", "borg", byRate, 5),
		atMost("holdfast", "", byMemory, 256),
	}}
	for _, p := range b.peers(d) {
		r.contestants = append(r.contestants, contestant{name: p.name, peer: true, prepare: p.init, run: p.backup})
	}
	return r, nil
}

// firstCaptureHalf has no free space to leave out and no chunk twice.
func (b *bench) firstCaptureHalf(context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	return &Road{unit: rateUnit, about: "half", contestants: []contestant{
		b.capturesAtBest(d.path, d.all()), b.capturing("holdfast", d),
	}, goals: []Goal{
		atLeast("holdfast", boundCapture, byRate, 0.7),
		atMost("holdfast", "", byMemory, 256),
	}}, nil
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
	extents, err := dataExtents(d.path)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes, without tracking", contestants: []contestant{
		b.hashesAtBest(d.path, extents), b.hashesPast(d.path, extents), b.again("holdfast", store, d),
	}, goals: []Goal{
		atLeast("holdfast", boundHash, byRate, 0.8),
		atLeast("holdfast", "restic", byRate, 10),
		atLeast("holdfast", "borg", byRate, 10),
	}}
	for _, p := range b.peers(d) {
		r.contestants = append(r.contestants, contestant{name: p.name, peer: true, prepare: p.prepared, run: p.backup})
	}
	return r, nil
}

func (b *bench) secondCaptureHalf(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	return &Road{unit: rateUnit, about: "half, without tracking", contestants: []contestant{
		b.hashesAtBest(d.path, d.all()), b.again("holdfast", store, d),
	}, goals: []Goal{atLeast("holdfast", boundHash, byRate, 0.8)}}, nil
}

// changedCapture changes 1 % of a copy of the disk, in its files, before each round.
func (b *bench) changedCapture(ctx context.Context) (*Road, error) {
	d := b.web
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	copied := b.path("changed.raw")
	if err := vm.Copy(copied, d.path); err != nil {
		return nil, err
	}
	if err := os.Chmod(copied, 0o644); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { return os.Remove(copied) })
	changed := d
	changed.path = copied
	if _, err := b.captureInto(ctx, store, changed, "changed"); err != nil {
		return nil, err
	}
	same, other := "holdfast, nothing changed", "holdfast, 1 % changed"
	return &Road{unit: rateUnit, about: "web, its data bytes; runs of 64 KiB in its files", contestants: []contestant{
		b.again(same, store, d),
		{name: other, prepare: func(ctx context.Context, round int) error {
			n, err := b.changeFiles(ctx, copied, d.data/100, uint64(round))
			if err == nil && (n < d.data/200 || n > d.data/50) {
				err = fmt.Errorf("changed %d of %d bytes, not 1 %%", n, d.data)
			}
			return err
		}, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.captureInto(ctx, store, changed, "changed")
		}},
	}, goals: []Goal{atMost(other, same, byWall, 1.2)}}, nil
}
