package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// readWhole reads a file front to back as dd bs=1M does.
func readWhole(ctx context.Context, path string, flags int) (Sample, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // aligned, for O_DIRECT
	if err != nil {
		return Sample{}, err
	}
	defer unix.Munmap(buf)
	began := time.Now()
	var total int64
	for ctx.Err() == nil {
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

// readRandom reads n blocks of 4 KiB at random places, one at a time. The places
// are fixed by the round, so that every contestant reads the same.
func readRandom(ctx context.Context, path string, n, round int) (Sample, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Sample{}, err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return Sample{}, err
	}
	r := rand.New(rand.NewPCG(uint64(round), 9))
	buf := make([]byte, 4096)
	took := make([]time.Duration, n)
	began := time.Now()
	for i := range took {
		if ctx.Err() != nil {
			return Sample{}, ctx.Err()
		}
		start := time.Now()
		if err := readBlock(f, buf, r.Int64N(size/4096)*4096); err != nil {
			return Sample{}, err
		}
		took[i] = time.Since(start)
	}
	s := Sample{Wall: time.Since(began), Bytes: int64(n) * 4096, Ops: n}
	slices.Sort(took)
	s.P50, s.P99 = took[n/2], took[n*99/100]
	return s, nil
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

// readPlaces reads ranges of a file front to back.
func readPlaces(ctx context.Context, path string, places [][2]int64) (Sample, error) {
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
