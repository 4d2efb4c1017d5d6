package main

import (
	"context"
	"syscall"
)

var readRoads = []entry{
	{"sequential read, cold", "read", true, (*bench).sequential},
	{"sequential read, O_DIRECT", "read", true, (*bench).sequentialDirect},
	{"sequential read, warm", "read", true, (*bench).sequentialWarm},
	{"random 4 KiB, cold, depth 1", "random", true, (*bench).random},
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

// reading is a road that reads the raw file and the same through mounts; files
// are the images to read, withPeers adds the peers' mounts.
func (b *bench) reading(ctx context.Context, d disk, r Road, warm, read reader, withPeers bool, files ...string) (*Road, error) {
	store, err := b.captured(ctx, d)
	if err != nil {
		return nil, err
	}
	r.contestants = append(r.contestants, rawFile(d, warm, read))
	for _, file := range files {
		r.contestants = append(r.contestants, through("holdfast "+file, b.mountOf(store, d, file), warm, read))
	}
	if withPeers {
		for _, p := range b.peers(d) {
			if p.mount != nil {
				c := through(p.name+" mount", p.mount, warm, read)
				c.peer = true
				r.contestants = append(r.contestants, c)
			}
		}
	}
	r.warm = warm != nil
	return &r, nil
}

const ourRaw = "holdfast vda.raw" // as reading names it

func wholeFile(flags int) reader {
	return func(ctx context.Context, path string, _ int) (Sample, error) { return readWhole(ctx, path, flags) }
}

func (b *bench) sequential(ctx context.Context) (*Road, error) {
	r := Road{unit: rateUnit, about: "web, dd bs=1M, holes too", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.5),
		atLeast("holdfast vda.qcow2", "raw file", byRate, 0.5),
		atLeast("holdfast vda.vhd", "raw file", byRate, 0.5),
		atLeast(ourRaw, "restic mount", byRate, 2.5),
		atLeast(ourRaw, "borg mount", byRate, 2),
		atLeast(ourRaw, "desync mount", byRate, 5),
	}}
	return b.reading(ctx, b.web, r, nil, wholeFile(0), true, "vda.raw", "vda.qcow2", "vda.vhd")
}

func (b *bench) sequentialDirect(ctx context.Context) (*Road, error) {
	// The peers' mounts are not asked: they don't serve O_DIRECT apart from the
	// page cache.
	r := Road{unit: rateUnit, about: "web, dd bs=1M iflag=direct, holes too", goals: []Goal{atLeast(ourRaw, "raw file", byRate, 0.55)}}
	return b.reading(ctx, b.web, r, nil, wholeFile(syscall.O_DIRECT), false, "vda.raw")
}

func (b *bench) sequentialWarm(ctx context.Context) (*Road, error) {
	r := Road{unit: rateUnit, about: "web, dd bs=1M for the second time, holes too", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.55),
		atMost(ourRaw, "", byServed, 4), // less than one READ of a page, with its header
	}}
	return b.reading(ctx, b.web, r, wholeFile(0), wholeFile(0), false, "vda.raw")
}

func (b *bench) random(ctx context.Context) (*Road, error) {
	r := Road{unit: iopsUnit, about: "web, at places with data", goals: []Goal{
		atLeast(ourRaw, "raw file", byRate, 0.4),
		atMost(ourRaw, "raw file", byP50, 3),
		atLeast(ourRaw, "restic mount", byRate, 50),
		atLeast(ourRaw, "borg mount", byRate, 50),
		atLeast(ourRaw, "desync mount", byRate, 8),
	}}
	places, err := dataExtents(b.web.path)
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context, path string, round int) (Sample, error) {
		return readRandom(ctx, path, randomPlaces(places, 1500, round))
	}
	return b.reading(ctx, b.web, r, nil, read, true, "vda.raw")
}
