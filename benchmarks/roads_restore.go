package main

import (
	"context"
	"fmt"
	"os"
)

var restoreRoads = []entry{
	{"restore to a raw file", "restore", true, (*bench).restore},
	{"restore to a raw file, half-compressible", "restore", true, (*bench).restoreHalf},
	{"restore onto a disk that differs by 1 %", "restore", true, (*bench).restoreOnto},
	{"restore onto a disk that differs by 1 %, the disk in the page cache", "restore", true, (*bench).restoreOntoWarm},
	{"restore as qcow2", "restore", true, (*bench).restoreQcow2},
}

// restoring restores a disk into a new file.
func (b *bench) restoring(store string, d disk, flags ...string) contestant {
	out := b.path("restored.raw")
	return contestant{name: "holdfast", prepare: b.remove("restored.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
		return b.holdfast(ctx, d.data, store, append(append([]string{"restore"}, flags...), d.name, out)...)
	}, finish: func() error { return removeFile(out) }}
}

func (b *bench) restore(ctx context.Context) (*Road, error) {
	d := b.web
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	extents, err := dataExtents(d.path)
	if err != nil {
		return nil, err
	}
	f, err := b.framesOf(ctx, d, extents)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		b.decodesAtBest(f), b.restoring(store, d), b.copied(d), b.written(d.data), b.moved(d, store, extents),
	}, goals: []Goal{
		atLeast("holdfast", boundDecode, byRate, 0.7),
		atLeast("holdfast", "restic", byRate, 3),
		atLeast("holdfast", "borg", byRate, 3),
	}}
	for _, p := range b.peers(d) {
		r.contestants = append(r.contestants, b.peerRestoring(p))
	}
	return r, nil
}

// written is the least that a restore takes on this disk, read or decode what it may:
// as many bytes past the page cache, and nothing else.
func (b *bench) written(bytes int64) contestant {
	out := b.path("written.raw")
	return contestant{name: "write alone", prepare: b.remove("written.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
		return command(ctx, bytes, nil, "dd", "if=/dev/zero", "of="+out, "bs=4M", "oflag=direct", "conv=fsync", "status=none", fmt.Sprint("count=", (bytes+4<<20-1)/(4<<20)))
	}, finish: func() error { return removeFile(out) }}
}

func (b *bench) peerRestoring(p peer) contestant {
	return contestant{name: p.name, peer: true, prepare: func(ctx context.Context, _ int) error {
		if err := os.RemoveAll(b.path("peer-out")); err != nil {
			return err
		}
		return p.ready(ctx)
	}, run: p.restore, finish: func() error { return os.RemoveAll(b.path("peer-out")) }}
}

func (b *bench) restoreHalf(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	f, err := b.framesOf(ctx, d, [][2]int64{{0, min(d.size, sequentialBytes)}})
	if err != nil {
		return nil, err
	}
	return &Road{unit: rateUnit, about: "half; the bound decodes its start", contestants: []contestant{
		b.decodesAtBest(f), b.restoring(store, d), b.copied(d), b.written(d.data), b.moved(d, store, [][2]int64{{0, d.size}}),
	}, goals: []Goal{
		atLeast("holdfast", boundDecode, byRate, 0.7),
		atLeast("holdfast", "cp and sync", byRate, 0.7),
	}}, nil
}

// restoreOnto restores onto a copy of the disk of which 1 % was overwritten.
func (b *bench) restoreOnto(ctx context.Context) (*Road, error) {
	return b.restoresOnto(ctx, "")
}

// restoreOntoWarm does so where a VM has just run on that disk: it is in the page cache,
// the store is not.
func (b *bench) restoreOntoWarm(ctx context.Context) (*Road, error) {
	return b.restoresOnto(ctx, b.path("onto"))
}

// restoresOnto holds restores onto a disk in the directory onto against a full one, and
// against reading that disk and hashing it. The files in warms are in the page cache.
func (b *bench) restoresOnto(ctx context.Context, warms string) (*Road, error) {
	d := b.web
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.path("onto"), 0o755); err != nil {
		return nil, err
	}
	onto, list := b.path("onto/onto.raw"), b.path("onto.changed")
	if err := removeFile(onto); err != nil {
		return nil, err
	}
	if _, err := b.holdfast(ctx, d.data, store, "restore", d.name, onto); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { return os.RemoveAll(b.path("onto")) })
	extents, err := dataExtents(onto)
	if err != nil {
		return nil, err
	}
	change := func(_ context.Context, round int) error {
		changed, err := overwriteShare(onto, extents, 0.01, uint64(round))
		if err != nil {
			return err
		}
		return writeRanges(list, changed)
	}
	onDisk := func(name string, flags ...string) contestant {
		return contestant{name: name, prepare: change, warms: warms, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, d.data, store, append(append([]string{"restore", "--overwrite"}, flags...), d.name, onto)...)
		}}
	}
	full := named("holdfast, to a new file", b.restoring(store, d))
	over, tracked := onDisk("holdfast, onto the disk"), onDisk("holdfast, by its changed blocks", "--changed", list)
	bound := b.hashesAtBest(onto, extents)
	bound.warms = warms
	return &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{full, bound, over, tracked}, goals: []Goal{
		atLeast(over.name, full.name, byRate, 5),
		atLeast(over.name, bound.name, byRate, 0.8),
		atLeast(tracked.name, full.name, byRate, 5),
	}}, nil
}

// restoreQcow2 is held against qemu's own conversion of the raw file.
func (b *bench) restoreQcow2(ctx context.Context) (*Road, error) {
	d := b.web
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	out := b.path("converted.qcow2")
	return &Road{unit: rateUnit, about: "web, its data bytes", contestants: []contestant{
		{name: "qemu-img convert of the raw file", prepare: b.remove("converted.qcow2"), run: func(ctx context.Context, _ int) (Sample, error) {
			return command(ctx, d.data, nil, "sh", "-c", `qemu-img convert -f raw -O qcow2 "$1" "$2" && sync "$2"`, "sh", d.path, out)
		}, finish: func() error { return removeFile(out) }},
		b.restoring(store, d, "--format", "qcow2"),
	}}, nil
}
