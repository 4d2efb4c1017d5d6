package main

import (
	"context"
	"os"
	"runtime"
	"time"
)

// frames are a disk's data as a file of zstd frames, a chunk a frame: what a
// restore has to decode, and nothing else.
type frames struct {
	path    string
	lengths []int32    // stored, in order
	runs    [][3]int64 // of about a region: offset, length, first frame
	plain   int64
}

// framesOf compresses a disk's extents, once.
func (b *bench) framesOf(ctx context.Context, d disk, extents [][2]int64) (*frames, error) {
	return once(b, "frames of "+d.name, func() (*frames, error) {
		return makeFrames(ctx, b.path(d.name+".frames"), d.path, extents)
	})
}

func makeFrames(ctx context.Context, path, source string, extents [][2]int64) (*frames, error) {
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	in, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	f := &frames{path: path}
	region, packed, at := make([]byte, regionSize), []byte(nil), int64(0)
	for _, e := range inRegions(extents) {
		if _, err := in.ReadAt(region[:e[1]], e[0]); err != nil {
			return nil, err
		}
		run := [3]int64{at, 0, int64(len(f.lengths))}
		packed = packed[:0]
		err := eachChunk(region[:e[1]], nil, func(chunk []byte, _ *[]byte) error {
			was := len(packed)
			packed = enc.EncodeAll(chunk, packed)
			f.lengths = append(f.lengths, int32(len(packed)-was))
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
		if _, err := out.Write(packed); err != nil {
			return nil, err
		}
		run[1] = int64(len(packed))
		at, f.plain, f.runs = at+run[1], f.plain+e[1], append(f.runs, run)
	}
	return f, out.Sync()
}

// decodeAll reads all frames, region by region on all cores, and does the work.
func (f *frames) decodeAll(ctx context.Context, do work) (Sample, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return Sample{}, err
	}
	defer file.Close()
	workers := runtime.NumCPU() + 1
	buffers, outs := make([][]byte, workers), make([][]byte, workers)
	began := time.Now()
	err = inParallel(ctx, workers, len(f.runs), func(w, i int) error {
		run := f.runs[i]
		if int64(cap(buffers[w])) < run[1] {
			buffers[w] = make([]byte, run[1])
		}
		packed := buffers[w][:run[1]]
		if _, err := file.ReadAt(packed, run[0]); err != nil {
			return err
		}
		for k := run[2]; len(packed) > 0; k++ {
			n := f.lengths[k]
			if err := do(packed[:n], &outs[w]); err != nil {
				return err
			}
			packed = packed[n:]
		}
		return nil
	})
	return Sample{Wall: time.Since(began), Bytes: f.plain}, err
}
