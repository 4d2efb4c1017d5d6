package main

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore/blake"
	"holdfast/chunkstore/media/odirect"
)

// What holdfast works in: a bound must do the same work on pieces of the same size.
const (
	chunkSize  = 64 << 10
	regionSize = 4 << 20
	slack      = 64 // with so much room behind its output the decoder takes its fast path
)

// work is done on each chunk. Its buffers belong to one worker.
type work func(chunk []byte, buf *[]byte) error

func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(runtime.NumCPU()),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(chunkSize), zstd.WithLowerEncoderMem(true))
}

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.NumCPU()), zstd.WithDecodeAllCapLimit(true))
}

// hasher is the fastest BLAKE3 that we know, which is the program's own.
var hasher = blake.New(nil)

func hash(chunk []byte, _ *[]byte) error {
	hasher.Sum(chunk)
	return nil
}

func encode(enc *zstd.Encoder) work {
	return func(chunk []byte, buf *[]byte) error {
		*buf = enc.EncodeAll(chunk, (*buf)[:0])
		return nil
	}
}

// decode decodes a chunk and hashes what comes out where then is hash.
func decode(dec *zstd.Decoder, then work) work {
	return func(stored []byte, buf *[]byte) error {
		if cap(*buf) < chunkSize+slack {
			*buf = make([]byte, 0, chunkSize+slack)
		}
		plain, err := dec.DecodeAll(stored, (*buf)[:0])
		if err != nil || then == nil {
			return err
		}
		return then(plain, nil)
	}
}

func both(a, b work) work {
	return func(chunk []byte, buf *[]byte) error {
		if err := a(chunk, buf); err != nil {
			return err
		}
		return b(chunk, buf)
	}
}

// inRegions divides extents into pieces of a region at most.
func inRegions(extents [][2]int64) (list [][2]int64) {
	for _, e := range extents {
		for at, end := e[0], e[0]+e[1]; at < end; {
			n := min(regionSize-at%regionSize, end-at)
			list = append(list, [2]int64{at, n})
			at += n
		}
	}
	return list
}

// inParallel calls do for 0 to n-1 with so many workers.
func inParallel(ctx context.Context, workers, n int, do func(worker, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for w := range workers {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(w, i); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// readAndWork reads a file's extents, region by region on all cores, and does
// the work on each chunk; uncached, past the page cache.
func readAndWork(ctx context.Context, path string, extents [][2]int64, uncached bool, do work) (Sample, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sample{}, err
	}
	defer f.Close()
	var past *os.File
	if uncached {
		if past, err = odirect.Open(f.Fd()); err != nil {
			return Sample{}, err
		}
		defer past.Close()
	}
	regions, workers := inRegions(extents), runtime.NumCPU()+1 // one more, so that reading hides behind work
	buffers, outs := make([][]byte, workers), make([][]byte, workers)
	for i := range buffers {
		buffers[i] = odirect.Memory(regionSize)
	}
	began := time.Now()
	err = inParallel(ctx, workers, len(regions), func(w, i int) error {
		region := buffers[w][:regions[i][1]]
		from := f
		if past != nil && odirect.Fits(region, regions[i][0]) {
			from = past
		}
		if _, err := from.ReadAt(region, regions[i][0]); err != nil {
			return err
		}
		return eachChunk(region, &outs[w], do)
	})
	return Sample{Wall: time.Since(began), Bytes: totalOf(extents)}, err
}

func eachChunk(region []byte, out *[]byte, do work) error {
	for len(region) > 0 {
		n := min(chunkSize, len(region))
		if err := do(region[:n], out); err != nil {
			return err
		}
		region = region[n:]
	}
	return nil
}
