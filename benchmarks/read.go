package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// readSequential reads a file front to back as dd bs=1M does, up to limit bytes.
func readSequential(ctx context.Context, path string, flags int, limit int64) (Sample, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	buf, err := aligned(1 << 20)
	if err != nil {
		return Sample{}, err
	}
	defer unix.Munmap(buf)
	began := time.Now()
	var total int64
	for ctx.Err() == nil && total < limit {
		n, err := f.Read(buf)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Sample{}, fmt.Errorf("read %s at %d: %w", path, total, err)
		}
	}
	return Sample{Wall: time.Since(began), Bytes: total}, ctx.Err()
}

// readFiles reads every file below a directory, so that the page cache has it.
func readFiles(ctx context.Context, dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		_, err = readSequential(ctx, path, 0, 1<<62)
		return err
	})
}

// aligned is memory for O_DIRECT. The caller unmaps it.
func aligned(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// readRandom reads a block of 4 KiB at each place, one at a time.
func readRandom(ctx context.Context, path string, places []int64) (Sample, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return Sample{}, err
	}
	buf := make([]byte, blockSize)
	took := make([]time.Duration, len(places))
	began := time.Now()
	for i, off := range places {
		if ctx.Err() != nil {
			return Sample{}, ctx.Err()
		}
		start := time.Now()
		if err := readBlock(f, buf, off); err != nil {
			return Sample{}, err
		}
		took[i] = time.Since(start)
	}
	return smallReads(time.Since(began), took), nil
}

// readDeep reads a block of 4 KiB at each place with O_DIRECT, so many at once.
func readDeep(ctx context.Context, path string, places []int64, depth int) (Sample, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	bufs, err := aligned(depth * blockSize)
	if err != nil {
		return Sample{}, err
	}
	defer unix.Munmap(bufs)
	took := make([]time.Duration, len(places))
	began := time.Now()
	err = inParallel(ctx, depth, len(places), func(w, i int) error {
		start := time.Now()
		if err := readBlock(f, bufs[w*blockSize:(w+1)*blockSize], places[i]); err != nil {
			return err
		}
		took[i] = time.Since(start)
		return nil
	})
	return smallReads(time.Since(began), took), err
}

// smallReads is the sample of reads of one block that took so long each.
func smallReads(wall time.Duration, took []time.Duration) Sample {
	n := len(took)
	slices.Sort(took)
	return Sample{Wall: wall, Bytes: int64(n) * blockSize, Ops: n, P50: took[n/2], P99: took[n*99/100]}
}

// readBlock reads one block, and once more where that fails with EIO: restic's
// mount answers so when the Go runtime's own signals interrupt a read.
func readBlock(f *os.File, buf []byte, off int64) error {
	_, err := f.ReadAt(buf, off)
	if errors.Is(err, unix.EIO) {
		_, err = f.ReadAt(buf, off)
	}
	return err
}

// readExtents reads ranges of a file front to back.
func readExtents(ctx context.Context, path string, places [][2]int64) (Sample, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	began := time.Now()
	var total int64
	for _, p := range places {
		for at, end := p[0], p[0]+p[1]; at < end && ctx.Err() == nil; {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
			if err != nil {
				return Sample{}, fmt.Errorf("read %s at %d: %w", path, at, err)
			}
			at, total = at+int64(n), total+int64(n)
		}
	}
	return Sample{Wall: time.Since(began), Bytes: total}, ctx.Err()
}
