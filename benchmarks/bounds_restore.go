package main

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore/media/odirect"
)

// boundMoved is the bound of a restore by the disk, where store and target share one.
const boundMoved = "read packs + write, no decoding"

// moveWriters is how many write beside the one that reads: of 1, 2 and 4, beside 1 and 2
// that read, none was told from another.
const moveWriters = 2

// moved is what a restore asks of the disk, and nothing else: it reads the store's packs
// and writes as many bytes as the disk has at their places, both at once, past the page
// cache and in regions, into blocks asked for before, and ends by a sync.
func (b *bench) moved(d disk, store string, extents [][2]int64) contestant {
	out := b.path("moved.raw")
	return contestant{name: boundMoved, prepare: b.remove("moved.raw"), run: func(ctx context.Context, _ int) (Sample, error) {
		packs, err := packsOf(store)
		if err != nil {
			return Sample{}, err
		}
		return here(func() (Sample, error) { return move(ctx, packs, out, extents, d.size) })
	}, finish: func() error { return removeFile(out) }}
}

func move(ctx context.Context, packs []string, out string, extents [][2]int64, size int64) (Sample, error) {
	noise := odirect.Memory(regionSize)
	fillNoise(noise, rand.NewPCG(1, 1))
	began := time.Now()
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_DIRECT, 0o644)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return Sample{}, err
	}
	for _, e := range extents {
		if err := unix.Fallocate(int(f.Fd()), 0, e[0], e[1]); err != nil {
			return Sample{}, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return readPacks(ctx, packs) })
	g.Go(func() error {
		regions := inRegions(extents)
		return inParallel(ctx, moveWriters, len(regions), func(_, i int) error {
			_, err := f.WriteAt(noise[:regions[i][1]], regions[i][0])
			return err
		})
	})
	if err := g.Wait(); err != nil {
		return Sample{}, err
	}
	err = f.Sync()
	return Sample{Wall: time.Since(began), Bytes: totalOf(extents)}, err
}

// readPacks reads files whole, one read of a region after the other, past the page cache.
func readPacks(ctx context.Context, paths []string) error {
	buf := odirect.Memory(regionSize)
	for _, path := range paths {
		if err := readPast(ctx, path, buf); err != nil {
			return err
		}
	}
	return nil
}

func readPast(ctx context.Context, path string, buf []byte) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	for off := int64(0); off < st.Size() && ctx.Err() == nil; off += int64(len(buf)) {
		// The last read ends at the file's end, which is no error of it here.
		if n, err := f.ReadAt(buf, off); int64(n) < min(int64(len(buf)), st.Size()-off) {
			return err
		}
	}
	return ctx.Err()
}
