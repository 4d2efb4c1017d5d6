package main

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"os"

	"golang.org/x/sync/errgroup"
)

const (
	halfSeed  = 0x686f6c6466617374 // this must not change: figures of two runs compare by it
	halfBlock = 1 << 20
	noiseRun  = 64 // bytes of noise, then
	matchRun  = 96 // bytes that were there before
)

// makeHalf writes a disk that compresses to about a half and holds no block
// twice. Its bytes are a function of number and offset alone; disks of different
// numbers share nothing.
func makeHalf(path string, size int64, number uint64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var g errgroup.Group
	g.SetLimit(2)
	for off := int64(0); off < size; off += halfBlock {
		g.Go(func() error {
			block := make([]byte, min(halfBlock, size-off))
			fillHalf(block, number, off)
			_, err := f.WriteAt(block, off)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.Sync()
}

// fillHalf fills a block that begins at off, a multiple of halfBlock: runs of
// noise, each followed by a run copied from up to 16 KiB before it, so that a
// match finder has as much to do as with files.
func fillHalf(block []byte, number uint64, off int64) {
	src := rand.NewPCG(halfSeed+number, uint64(off))
	for at := 0; at < len(block); at += noiseRun + matchRun {
		copied := min(at+noiseRun, len(block))
		fillNoise(block[at:copied], src)
		back := matchRun
		if at > matchRun {
			hi, _ := bits.Mul64(src.Uint64(), uint64(min(at-matchRun, 16<<10)))
			back += int(hi)
		}
		back = min(back, copied) // the first run has less before it
		again := block[copied:min(copied+matchRun, len(block))]
		for n := 0; n < len(again); {
			n += copy(again[n:], block[copied-back:copied])
		}
	}
}

func fillNoise(p []byte, src rand.Source) {
	var word [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(word[:], src.Uint64())
		p = p[copy(p, word[:]):]
	}
}
