package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
)

const mb = 1e6

// runRoads races every road that was asked for.
func (b *bench) runRoads(ctx context.Context) ([]Result, error) {
	peers, err := b.preparePeers(ctx)
	if err != nil {
		return nil, err
	}
	roads := []func(context.Context, []peer) (*Road, error){
		b.firstCapture, b.fileCut, b.secondCapture, b.sequential, b.sequentialDirect, b.random, b.restore, b.quickScrub, b.deepScrub,
	}
	names := []string{"first capture", "first capture of a disk with files", "second capture, nothing changed", "sequential read, cold", "sequential read, O_DIRECT", "random 4 KiB, cold, depth 1", "restore to a raw file", "quick scrub", "deep scrub"}
	for _, g := range guestFiles {
		roads = append(roads, func(ctx context.Context, _ []peer) (*Road, error) { return g.road(b, ctx) })
		names = append(names, g.name)
	}
	var results []Result
	for i, road := range roads {
		if !strings.Contains(names[i], b.only) {
			continue
		}
		r, err := road(ctx, peers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
		r.name = names[i]
		res, err := r.race(ctx, b.rounds)
		b.unmountAll()
		if err != nil {
			return nil, err
		}
		results = append(results, res)
	}
	return results, nil
}

// unmountAll ends the mounts of a road.
func (b *bench) unmountAll() {
	b.close()
	b.closers = nil
}

// copyDurably copies a file as cp does and waits until it is on the disk, as
// our own captures and restores do.
func (b *bench) copyDurably(ctx context.Context, to string) (Sample, error) {
	return command(ctx, b.data.Bytes, nil, "sh", "-c", `cp "$1" "$2" && sync "$2"`, "sh", b.image, to)
}

func (b *bench) firstCapture(_ context.Context, peers []peer) (*Road, error) {
	r := &Road{unit: "MB/s", contestants: []contestant{
		{name: "cp and sync", prepare: b.remove("copy.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
			return b.copyDurably(ctx, b.path("copy.raw"))
		}},
		{name: "holdfast", prepare: func(ctx context.Context, _ int) error {
			_, err := b.freshStore(ctx, "first")
			return err
		}, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, b.path("first"), "capture", "--vm", "web", "vda="+b.image)
		}},
	}}
	for _, p := range peers {
		r.contestants = append(r.contestants, contestant{p.name, p.init, p.backup})
	}
	return r, nil
}

// fileCut holds the cut along the guest's files, free space left out, against
// the grid, on a real disk with its holes.
func (b *bench) fileCut(_ context.Context, _ []peer) (*Road, error) {
	capture := func(name string, flags ...string) contestant {
		return contestant{name: name, prepare: func(ctx context.Context, _ int) error {
			_, err := b.freshStore(ctx, "first")
			return err
		}, run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, b.path("first"), append(append([]string{"capture", "--vm", "web"}, flags...), "vda="+b.sparse)...)
		}}
	}
	return &Road{unit: "MB/s", contestants: []contestant{
		capture("holdfast, on the grid", "--cut", "grid", "--keep-free", "--keep-swap"),
		capture("holdfast, along the files"),
	}}, nil
}

func (b *bench) remove(name string) func(context.Context, int) error {
	return func(context.Context, int) error { return os.RemoveAll(b.path(name)) }
}

// capturedStore is a store with one version of the disk, made once.
func (b *bench) capturedStore(ctx context.Context) (string, error) {
	store := b.path("store")
	if _, err := os.Stat(store); err == nil {
		return store, nil
	}
	if _, err := b.freshStore(ctx, "store"); err != nil {
		return "", err
	}
	_, err := b.holdfast(ctx, store, "capture", "--vm", "web", "vda="+b.image)
	return store, err
}

func (b *bench) secondCapture(ctx context.Context, peers []peer) (*Road, error) {
	store, err := b.capturedStore(ctx)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: "MB/s", contestants: []contestant{
		{name: "reading the raw file", run: func(ctx context.Context, _ int) (Sample, error) { return readWhole(ctx, b.image, 0) }},
		{name: "holdfast", run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, store, "capture", "--vm", "web", "vda="+b.image)
		}},
	}}
	for _, p := range peers {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
		r.contestants = append(r.contestants, contestant{name: p.name, run: p.backup})
	}
	return r, nil
}

// mountedRaw mounts the captured store and returns the raw image's path and the
// process that serves it.
func (b *bench) mountedRaw(ctx context.Context) (string, int, error) {
	store, err := b.capturedStore(ctx)
	if err != nil {
		return "", 0, err
	}
	mnt := b.path("mnt")
	raw := mnt + "/web/latest/vda.raw"
	m, err := serve(ctx, []string{"HOLDFAST_STORE=" + store}, mnt, raw, b.binary, "mount", mnt)
	if err != nil {
		return "", 0, err
	}
	b.closers = append(b.closers, m.stop)
	return raw, m.cmd.Process.Pid, nil
}

// reading is a road that reads the raw file and the mounted ones.
func (b *bench) reading(ctx context.Context, peers []peer, unit string, read func(ctx context.Context, path string, round int) (Sample, error)) (*Road, error) {
	raw, pid, err := b.mountedRaw(ctx)
	if err != nil {
		return nil, err
	}
	served := func(path string, pid int) func(context.Context, int) (Sample, error) {
		return func(ctx context.Context, round int) (Sample, error) {
			before := processCPU(pid)
			s, err := read(ctx, path, round)
			s.CPU = processCPU(pid) - before
			return s, err
		}
	}
	r := &Road{unit: unit, contestants: []contestant{
		{name: "raw file", run: func(ctx context.Context, round int) (Sample, error) { return read(ctx, b.image, round) }},
		{name: "holdfast mount", run: served(raw, pid)},
	}}
	for _, p := range peers {
		path, m, err := p.mount(ctx)
		if err != nil {
			return nil, err
		}
		b.closers = append(b.closers, m.stop)
		r.contestants = append(r.contestants, contestant{name: p.name + " mount", run: served(path, m.cmd.Process.Pid)})
	}
	return r, nil
}

func (b *bench) sequential(ctx context.Context, peers []peer) (*Road, error) {
	return b.reading(ctx, peers, "MB/s", func(ctx context.Context, path string, _ int) (Sample, error) { return readWhole(ctx, path, 0) })
}

func (b *bench) sequentialDirect(ctx context.Context, _ []peer) (*Road, error) {
	// Debian's restic and borg mounts are not asked: they don't serve O_DIRECT
	// apart from the page cache.
	return b.reading(ctx, nil, "MB/s", func(ctx context.Context, path string, _ int) (Sample, error) {
		return readWhole(ctx, path, syscall.O_DIRECT)
	})
}

func (b *bench) random(ctx context.Context, peers []peer) (*Road, error) {
	return b.reading(ctx, peers, "IOPS", func(ctx context.Context, path string, round int) (Sample, error) {
		return readRandom(ctx, path, 1500, round)
	})
}

func (b *bench) restore(ctx context.Context, peers []peer) (*Road, error) {
	store, err := b.capturedStore(ctx)
	if err != nil {
		return nil, err
	}
	out := b.path("restored.raw")
	r := &Road{unit: "MB/s", contestants: []contestant{
		{name: "cp and sync", prepare: b.remove("copy.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
			return b.copyDurably(ctx, b.path("copy.raw"))
		}},
		{name: "holdfast", prepare: b.remove("restored.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
			return b.holdfast(ctx, store, "restore", "web", out)
		}},
	}}
	for _, p := range peers {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
		r.contestants = append(r.contestants, contestant{p.name, b.remove("peer-out"), p.restore})
	}
	return r, nil
}
