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
	halfRun   = 64 // bytes of noise, then as many that were there before
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
	for at := 0; at < len(block); at += 2 * halfRun {
		run := block[at:min(at+halfRun, len(block))]
		fillNoise(run, src)
		again := block[min(at+halfRun, len(block)):min(at+2*halfRun, len(block))]
		back := halfRun
		if at > 0 {
			hi, _ := bits.Mul64(src.Uint64(), uint64(min(at, 16<<10)))
			back += int(hi)
		}
		copy(again, block[at+halfRun-back:])
	}
}

func fillNoise(p []byte, src rand.Source) {
	var word [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(word[:], src.Uint64())
		p = p[copy(p, word[:]):]
	}
}
