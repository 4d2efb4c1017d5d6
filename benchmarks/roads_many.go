package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

var manyRoads = []entry{
	{"16 streams over different versions", "many", true, (*bench).manyStreams},
	{"16 streams over versions that share", "many", true, (*bench).sharedStreams},
}

const streams = 16

// manyMemory is what a mount with its default cache of 256 MiB may take (MiB): the
// cache, an eighth more for prefetched chunks, maps, requests and buffers on their way.
const manyMemory = 512

// streamStore is a store with so many VMs that share nothing, and one with as
// many versions of one disk, each with 1 % of its own.
func (b *bench) streamStore(ctx context.Context) (string, error) {
	return once(b, "store of streams", func() (string, error) {
		store, err := b.freshStore(ctx, "streams.store")
		if err != nil {
			return "", err
		}
		size, disk := b.streamBytes(), b.path("stream.raw")
		defer os.Remove(disk)
		for i := range streams {
			if err := makeHalf(disk, size, uint64(i+1)); err != nil {
				return "", err
			}
			if err := b.captureStream(ctx, store, fmt.Sprintf("own-%02d", i), disk); err != nil {
				return "", err
			}
		}
		for i := range streams {
			if _, err := overwriteShare(disk, [][2]int64{{0, size}}, 0.01, uint64(i)); err != nil {
				return "", err
			}
			if err := b.captureStream(ctx, store, fmt.Sprintf("shared-%02d", i), disk); err != nil {
				return "", err
			}
		}
		return store, nil
	})
}

func (b *bench) captureStream(ctx context.Context, store, vm, disk string) error {
	_, err := b.holdfast(ctx, 0, store, "capture", "--vm", vm, "vda="+disk)
	return err
}

// streamBytes is the size of a stream's disk: 128 MiB, less for a small run.
func (b *bench) streamBytes() int64 { return min(128<<20, b.half/32) }

// manyStreams reads as much in one stream, VM after VM, and in 16 at once.
func (b *bench) manyStreams(ctx context.Context) (*Road, error) {
	return b.streamRoad(ctx, "own", 0.8)
}

// sharedStreams reads versions of which 99 % is the same: what is the same is
// decoded once.
func (b *bench) sharedStreams(ctx context.Context) (*Road, error) {
	return b.streamRoad(ctx, "shared", 0.8)
}

func (b *bench) streamRoad(ctx context.Context, prefix string, goal float64) (*Road, error) {
	store, err := b.streamStore(ctx)
	if err != nil {
		return nil, err
	}
	at := func(n int) reader {
		return func(ctx context.Context, first string, _ int) (Sample, error) {
			root := filepath.Dir(filepath.Dir(filepath.Dir(first)))
			return readStreams(ctx, root, prefix, n)
		}
	}
	serve := b.mountOf(store, disk{name: prefix + "-00"}, "vda.raw")
	one, all := "one stream, version after version", fmt.Sprintf("%d streams", streams)
	return &Road{unit: rateUnit, about: fmt.Sprintf("%d versions of %.0f MB", streams, float64(b.streamBytes())/mb), contestants: []contestant{
		through(one, serve, nil, at(1)), through(all, serve, nil, at(streams)),
	}, goals: []Goal{
		atLeast(all, one, byRate, goal),
		atMost(all, "", byMemory, manyMemory),
	}}, nil
}

// readStreams reads the disks of all VMs with the prefix, so many at once.
func readStreams(ctx context.Context, root, prefix string, at int) (Sample, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(at)
	sizes := make([]int64, streams)
	began := time.Now()
	for i := range streams {
		g.Go(func() error {
			s, err := readSequential(ctx, filepath.Join(root, fmt.Sprintf("%s-%02d", prefix, i), "latest/vda.raw"), 0, 1<<62)
			sizes[i] = s.Bytes
			return err
		})
	}
	err := g.Wait()
	s := Sample{Wall: time.Since(began)}
	for _, n := range sizes {
		s.Bytes += n
	}
	return s, err
}
