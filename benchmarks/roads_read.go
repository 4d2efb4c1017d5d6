package main

import (
	"context"
	"fmt"
	"syscall"
)

var readRoads = []entry{
	{"sequential read, cold", "read", true, (*bench).sequential},
	{"sequential read of the data, cold", "read", true, (*bench).sequentialData},
	{"sequential read, cold, half-compressible", "read", true, (*bench).sequentialHalf},
	{"sequential read, O_DIRECT", "read", true, (*bench).sequentialDirect},
	{"sequential read, warm", "read", true, (*bench).sequentialWarm},
}

// reader reads a file in some way, the same places in the same round.
type reader func(ctx context.Context, path string, round int) (Sample, error)

// rawFile reads the disk itself. Where warm is not nil, it runs first.
func rawFile(d disk, warm, read reader) contestant {
	c := contestant{name: "raw file", run: func(ctx context.Context, round int) (Sample, error) {
		return here(func() (Sample, error) { return read(ctx, d.path, round) })
	}}
	if warm != nil {
		c.prepare = func(ctx context.Context, round int) error {
			_, err := warm(ctx, d.path, round)
			return err
		}
	}
	return c
}

// reading adds to a road the raw file and the same through our mount, once for
// each image file.
func (b *bench) reading(ctx context.Context, r *Road, d disk, warm, read reader, files ...string) error {
	store, err := b.captured(ctx, d)
	if err != nil {
		return err
	}
	r.warm = warm != nil
	r.contestants = append(r.contestants, rawFile(d, warm, read))
	for _, file := range files {
		r.contestants = append(r.contestants, through("holdfast "+file, b.mountOf(store, d, file), warm, read))
	}
	return nil
}

// peersReading adds the peers' mounts to a road.
func (b *bench) peersReading(r *Road, d disk, read reader) {
	for _, p := range b.peers(d) {
		if p.mount != nil {
			c := through(p.name+" mount", p.mount, nil, read)
			c.peer = true
			r.contestants = append(r.contestants, c)
		}
	}
}

// Image files as reading names them.
const (
	ourRaw   = "holdfast vda.raw"
	ourQcow2 = "holdfast vda.qcow2"
	ourVHD   = "holdfast vda.vhd"
)

// sequentialBytes is how much of a large disk a sequential read reads.
const sequentialBytes = 2 << 30

func wholeFile(flags int) reader {
	return func(ctx context.Context, path string, _ int) (Sample, error) {
		return readSequential(ctx, path, flags, 1<<62)
	}
}

func fileStart(flags int) reader {
	return func(ctx context.Context, path string, _ int) (Sample, error) {
		return readSequential(ctx, path, flags, sequentialBytes)
	}
}

// sequential is on a real disk, holes and all: its goals are against peers, as
// nobody's rate through holes says much.
func (b *bench) sequential(ctx context.Context) (*Road, error) {
	r := &Road{unit: rateUnit, about: "web, dd bs=1M, holes too", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.5),
		atLeast(ourRaw, "restic mount", byRate, 2.5),
		atLeast(ourRaw, "borg mount", byRate, 2),
		atLeast(ourRaw, "desync mount", byRate, 5),
	}}
	if err := b.reading(ctx, r, b.web, nil, wholeFile(0), "vda.raw"); err != nil {
		return nil, err
	}
	if b.has("nbdkit") {
		r.contestants = append(r.contestants, b.served("nbdkit serving the raw file", b.web, "raw", nbdFile))
	}
	b.peersReading(r, b.web, wholeFile(0))
	return r, nil
}

// sequentialData leaves the holes out, as cp and qemu do.
func (b *bench) sequentialData(ctx context.Context) (*Road, error) {
	d := b.web
	extents, err := dataExtents(d.path)
	if err != nil {
		return nil, err
	}
	f, err := b.framesOf(ctx, d, extents)
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "web, its data bytes", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.5),
		atMost(ourRaw, boundDecode, byCPU, 1.3),
	}}
	read := func(ctx context.Context, path string, _ int) (Sample, error) { return readExtents(ctx, path, extents) }
	if err := b.reading(ctx, r, d, nil, read, "vda.raw"); err != nil {
		return nil, err
	}
	r.contestants = append(r.contestants, b.decodesAtBest(f))
	return r, nil
}

// sequentialHalf has data everywhere, so that every format gives as many bytes.
func (b *bench) sequentialHalf(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	f, err := b.framesOf(ctx, d, [][2]int64{{0, min(d.size, sequentialBytes)}})
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: fmt.Sprintf("half, dd bs=1M, the first %.0f MB", min(float64(d.size), sequentialBytes)/mb), goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.5),
		atLeast(ourQcow2, "raw file", byRate, 0.5),
		atLeast(ourVHD, "raw file", byRate, 0.5),
		atMost(ourRaw, boundDecode, byCPU, 1.3),
	}}
	if err := b.reading(ctx, r, d, nil, fileStart(0), "vda.raw", "vda.qcow2", "vda.vhd"); err != nil {
		return nil, err
	}
	r.contestants = append(r.contestants, b.decodesAtBest(f))
	return r, nil
}

// sequentialDirect does not ask the peers' mounts: they serve O_DIRECT out of
// the page cache.
func (b *bench) sequentialDirect(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "half, dd bs=1M iflag=direct, the start", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.55),
		atLeast(ourQcow2, "raw file", byRate, 0.55),
	}}
	return r, b.reading(ctx, r, d, nil, fileStart(syscall.O_DIRECT), "vda.raw", "vda.qcow2")
}

func (b *bench) sequentialWarm(ctx context.Context) (*Road, error) {
	d, err := b.halfDisk()
	if err != nil {
		return nil, err
	}
	r := &Road{unit: rateUnit, about: "half, dd bs=1M for the second time, the start", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.55),
		atMost(ourRaw, "", byServed, noRead),
		atLeast(ourQcow2, "raw file", byRate, 0.55),
		atMost(ourQcow2, "", byServed, noRead),
	}}
	return r, b.reading(ctx, r, d, fileStart(0), fileStart(0), "vda.raw", "vda.qcow2")
}

// noRead is less than the answer to a READ of one page; those to look-ups and
// opens are below it together.
const noRead = 4
