package guesttest

import (
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"holdfast/fs/guest"
)

// memory is a volume in memory, with some bytes changed as they are read.
type memory struct {
	image   []byte
	patches []patch // in order of off
}

type patch struct {
	off int64
	b   byte
}

func (m *memory) Size() int64 { return int64(len(m.image)) }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m.image)) {
		return 0, io.EOF
	}
	n := copy(p, m.image[off:])
	i, _ := slices.BinarySearchFunc(m.patches, off, func(x patch, off int64) int { return int(x.off - off) })
	for ; i < len(m.patches) && m.patches[i].off < off+int64(n); i++ {
		p[m.patches[i].off-off] = m.patches[i].b
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) put(off int64, b byte) {
	if off >= 0 && off < int64(len(m.image)) {
		m.patches = append(m.patches, patch{off, b})
	}
}

// settle sorts the patches; of several at one place the first one counts.
func (m *memory) settle() {
	slices.SortStableFunc(m.patches, func(a, b patch) int { return int(a.off - b.off) })
	m.patches = slices.CompactFunc(m.patches, func(a, b patch) bool { return a.off == b.off })
}

// traced notes which ranges of a volume are read.
type traced struct {
	guest.Volume
	mu     sync.Mutex // guards ranges
	ranges map[guest.Range]bool
}

func (v *traced) ReadAt(p []byte, off int64) (int, error) {
	n, err := v.Volume.ReadAt(p, off)
	if n > 0 {
		v.mu.Lock()
		v.ranges[guest.Range{Offset: off, Length: int64(n)}] = true
		v.mu.Unlock()
	}
	return n, err
}

// sorted gives the ranges in order, so that a seed means the same each time.
func (v *traced) sorted() []guest.Range {
	var all []guest.Range
	for r := range v.ranges {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b guest.Range) int {
		if a.Offset != b.Offset {
			return int(a.Offset - b.Offset)
		}
		return int(a.Length - b.Length)
	})
	return all
}

// odd are the values that break a length, an offset or a count.
var odd = []uint64{0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// mutate changes a few fields among what is read.
func mutate(image []byte, ranges []guest.Range, rnd *rand.Rand) *memory {
	m := &memory{image: image}
	for range 1 + rnd.IntN(1+rnd.IntN(24)) {
		at := pickByte(image, ranges, rnd)
		switch rnd.IntN(6) {
		case 0:
			m.put(at, byte(rnd.Uint32()))
		case 1:
			m.put(at, image[at]^1<<rnd.IntN(8))
		case 2:
			m.put(at, image[at]+byte(1-2*rnd.IntN(2)))
		case 3, 4:
			putField(m, at, odd[rnd.IntN(len(odd))], rnd)
		case 5: // a field from elsewhere: a pointer to something else
			from := pickByte(image, ranges, rnd) &^ 3
			width := int64(4 << rnd.IntN(5))
			for i := range min(width, int64(len(image))-from) {
				m.put(at&^3+i, image[from+i])
			}
		}
	}
	m.settle()
	return m
}

// putField writes a number of 1 to 8 bytes in either order, aligned.
func putField(m *memory, at int64, value uint64, rnd *rand.Rand) {
	width := int64(1) << rnd.IntN(4)
	at &^= width - 1
	bigEndian := rnd.IntN(2) == 0
	for i := range width {
		shift := 8 * i
		if bigEndian {
			shift = 8 * (width - 1 - i)
		}
		m.put(at+i, byte(value>>shift))
	}
}

// pickByte prefers bytes that are not zero: they carry more.
func pickByte(image []byte, ranges []guest.Range, rnd *rand.Rand) int64 {
	at := int64(0)
	for range 1 + rnd.IntN(8) {
		r := ranges[rnd.IntN(len(ranges))]
		at = r.Offset + rnd.Int64N(r.Length)
		if image[at] != 0 {
			break
		}
	}
	return at
}
