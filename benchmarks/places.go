package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

const blockSize = 4096

// dataExtents lists where a sparse file holds data: offset and length, in order.
func dataExtents(path string) (list [][2]int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for off := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("find data of %s: %w", path, err)
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("find holes of %s: %w", path, err)
		}
		list = append(list, [2]int64{from, to - from})
		off = to
	}
}

// totalOf is the length of all extents.
func totalOf(extents [][2]int64) (n int64) {
	for _, e := range extents {
		n += e[1]
	}
	return n
}

// randomPlaces are the offsets of n blocks within the extents, fixed by the round,
// so that every contestant reads the same. There must be a whole block.
func randomPlaces(extents [][2]int64, n, round int) []int64 {
	starts, blocks := make([]int64, len(extents)), int64(0) // blocks before each extent
	for i, e := range extents {
		starts[i] = blocks
		blocks += e[1] / blockSize
	}
	r := rand.New(rand.NewPCG(uint64(round), 9))
	places := make([]int64, n)
	for i := range places {
		k := r.Int64N(blocks)
		e := len(starts) - 1
		for e > 0 && starts[e] > k {
			e--
		}
		places[i] = extents[e][0] + (k-starts[e])*blockSize
	}
	return places
}
