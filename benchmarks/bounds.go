package main

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var boundRoads = []entry{
	{"bounds, bytes", "bounds", true, (*bench).boundBytes},
	{"bounds, small reads", "bounds", true, (*bench).boundReads},
}

// boundSample is how many bytes of the disk the work without reading is done on.
const boundSample = 512 << 20

// boundBytes is what this machine can do with the bytes of the web disk.
func (b *bench) boundBytes(ctx context.Context) (*Road, error) {
	d := b.web
	extents, err := dataExtents(d.path)
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	plain, err := b.mapped(d.path, extents)
	if err != nil {
		return nil, err
	}
	stored := make([][]byte, len(plain))
	for i, chunk := range plain {
		stored[i] = enc.EncodeAll(chunk, nil)
	}
	cores := runtime.NumCPU()
	busy := func(name string, workers int, chunks [][]byte, do work) contestant {
		return inMemory(name, workers, chunks, sizeOf(plain), do)
	}
	dense := [][2]int64{{0, min(totalOf(extents), boundSample)}}
	read := func(ctx context.Context, path string, _ int) (Sample, error) { return readExtents(ctx, path, extents) }
	return &Road{unit: rateUnit, about: "web, its data bytes; what is not reading works in memory", contestants: []contestant{
		named("raw file, cold", rawFile(d, nil, read)),
		warmed(named("raw file, warm", rawFile(d, read, read))),
		warmed(busy("BLAKE3, one core", 1, plain, hash)),
		warmed(busy("BLAKE3, all cores", cores, plain, hash)),
		warmed(busy("zstd fastest encode, one core", 1, plain, encode(enc))),
		warmed(busy("zstd fastest encode, all cores", cores, plain, encode(enc))),
		warmed(busy("zstd decode, one core", 1, stored, decode(dec, nil))),
		warmed(busy("zstd decode, all cores", cores, stored, decode(dec, nil))),
		warmed(busy("zstd decode + BLAKE3, all cores", cores, stored, decode(dec, hash))),
		b.capturesAtBest(d.path, extents),
		b.hashesAtBest(d.path, extents),
		b.fuseFromMemory("FUSE read from memory, cold", dense[0][1], wholeFile(0)),
		b.fuseFromMemory("FUSE read from memory, O_DIRECT", dense[0][1], wholeFile(syscall.O_DIRECT)),
	}}, nil
}

// capturesAtBest is the bound of a first capture.
func (b *bench) capturesAtBest(path string, extents [][2]int64) contestant {
	return contestant{name: boundCapture, run: func(ctx context.Context, _ int) (Sample, error) {
		enc, err := newEncoder()
		if err != nil {
			return Sample{}, err
		}
		return here(func() (Sample, error) { return readAndWork(ctx, path, extents, false, both(hash, encode(enc))) })
	}}
}

// hashesAtBest is the bound of a second capture.
func (b *bench) hashesAtBest(path string, extents [][2]int64) contestant {
	return contestant{name: boundHash, run: func(ctx context.Context, _ int) (Sample, error) {
		return here(func() (Sample, error) { return readAndWork(ctx, path, extents, false, hash) })
	}}
}

// hashesPast is the same past the page cache, as holdfast reads too: what no goal is
// judged by, as it is less than reading a file takes.
func (b *bench) hashesPast(path string, extents [][2]int64) contestant {
	return contestant{name: boundPast, run: func(ctx context.Context, _ int) (Sample, error) {
		return here(func() (Sample, error) { return readAndWork(ctx, path, extents, true, hash) })
	}}
}

// decodesAtBest is the bound of a restore and of a deep scrub: it reads frames, decodes and
// hashes them.
func (b *bench) decodesAtBest(f *frames) contestant {
	return contestant{name: boundDecode, run: func(ctx context.Context, _ int) (Sample, error) {
		dec, err := newDecoder()
		if err != nil {
			return Sample{}, err
		}
		defer dec.Close()
		return here(func() (Sample, error) { return f.decodeAll(ctx, decode(dec, hash)) })
	}}
}

// Names of the bounds, all of them on all cores, zstd on its fastest level.
const (
	boundCapture = "read + BLAKE3 + zstd"
	boundHash    = "read + BLAKE3"
	boundPast    = "read past the page cache + BLAKE3"
	boundDecode  = "read + decode + BLAKE3"
)

// mapped are the chunks of the first data bytes, in memory, until the road ends.
func (b *bench) mapped(path string, extents [][2]int64) (chunks [][]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	left := int64(boundSample)
	for _, e := range extents {
		n := min(e[1], left)
		if left -= n; n == 0 {
			break
		}
		at := e[0] % int64(os.Getpagesize()) // mmap wants whole pages
		p, err := unix.Mmap(int(f.Fd()), e[0]-at, int(at+n), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
		if err != nil {
			return nil, err
		}
		b.closers = append(b.closers, func() error { return unix.Munmap(p) })
		for p := p[at:]; len(p) > 0; p = p[min(chunkSize, len(p)):] {
			chunks = append(chunks, p[:min(chunkSize, len(p))])
		}
	}
	return chunks, nil
}

func sizeOf(chunks [][]byte) (n int64) {
	for _, c := range chunks {
		n += int64(len(c))
	}
	return n
}

// inMemory does the work on chunks in memory; bytes is what the rate counts.
func inMemory(name string, workers int, chunks [][]byte, bytes int64, do work) contestant {
	pass := func(ctx context.Context, do work) error {
		outs := make([][]byte, workers)
		const batch = regionSize / chunkSize
		return inParallel(ctx, workers, (len(chunks)+batch-1)/batch, func(w, i int) error {
			for _, c := range chunks[i*batch : min((i+1)*batch, len(chunks))] {
				if err := do(c, &outs[w]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return contestant{name: name, prepare: func(ctx context.Context, _ int) error {
		return pass(ctx, hash) // what is mapped is in memory then
	}, run: func(ctx context.Context, _ int) (Sample, error) {
		return here(func() (Sample, error) {
			began := time.Now()
			err := pass(ctx, do)
			return Sample{Wall: time.Since(began), Bytes: bytes}, err
		})
	}}
}
