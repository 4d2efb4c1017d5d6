package layout

import (
	"fmt"
	"io"
	"math/bits"
	"os"
)

// A page has bits for an area of 2 GiB in blocks of 4096 bytes; where an area
// is fine, it has eight pages for blocks of 512.
const (
	pageWords = 8192
	pageBits  = 64 * pageWords
	pageBytes = 8 * pageWords
	coarse    = 4096
	fine      = 512
	areaBytes = pageBits * coarse
	perArea   = coarse / fine
)

// plane is one sort of bits of one disk.
type plane struct {
	disk int
	kind uint8
}

const (
	cutPlane uint8 = iota
	outPlane
)

type pageKey struct {
	plane
	number int64 // area * perArea, and behind it the pages of a fine area
}

type page struct {
	key   pageKey
	words [pageWords]uint64
	used  bool // since the hand came by
	dirty bool // not yet in the file as it is
}

// pages keeps the bits of all disks, most of them in memory. It is not safe
// for concurrent use. After an error, which is that of the file, all bits may
// be wrong.
type pages struct {
	max   int // pages in memory
	dir   string
	have  map[pageKey]*page
	clock []*page // those in memory; hand goes round them
	hand  int
	fine  map[plane]map[int64]bool // areas, of plane 0 of each disk
	file  *os.File
	slots map[pageKey]int64 // where a page lies in the file
	err   error
}

func newPages(maxBytes int, dir string) *pages {
	return &pages{max: max(4, maxBytes/pageBytes), dir: dir, have: map[pageKey]*page{},
		fine: map[plane]map[int64]bool{}, slots: map[pageKey]int64{}}
}

// close lets go of the file.
func (p *pages) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// refine makes the areas of a range of a disk fine. Bits must be set after.
func (p *pages) refine(disk int, from, to int64) {
	areas := p.fine[plane{disk, cutPlane}]
	if areas == nil {
		areas = map[int64]bool{}
		p.fine[plane{disk, cutPlane}] = areas
	}
	for a := from / areaBytes; a*areaBytes < to; a++ {
		areas[a] = true
	}
}

// stretch is a part of a plane that one page has the bits of.
type stretch struct {
	key      pageKey
	start    int64 // byte of the disk where the page begins
	end      int64
	unit     int64
	from, to int64 // asked for, cut to the page
}

// at gives the stretch of [from, to) that begins at from.
func (p *pages) at(pl plane, from, to int64) stretch {
	a := from / areaBytes
	s := stretch{key: pageKey{pl, a * perArea}, start: a * areaBytes, end: (a + 1) * areaBytes, unit: coarse, from: from}
	if p.fine[plane{pl.disk, cutPlane}][a] {
		sub := from % areaBytes / (areaBytes / perArea)
		s.key.number += sub
		s.start += sub * (areaBytes / perArea)
		s.end, s.unit = s.start+areaBytes/perArea, fine
	}
	s.to = min(to, s.end)
	return s
}

// unit is the size of the block that holds a byte.
func (p *pages) unit(pl plane, off int64) int64 { return p.at(pl, off, off+1).unit }

// set sets the bits of the blocks that lie in [from, to) as a whole; on says to
// what.
func (p *pages) set(pl plane, from, to int64, on bool) {
	for from < to {
		s := p.at(pl, from, to)
		first, last := int((s.from-s.start+s.unit-1)/s.unit), int((s.to-s.start)/s.unit)
		if first < last {
			if pg := p.page(s.key, on); pg != nil {
				pg.fill(first, last, on)
			}
		}
		from = s.to
	}
}

// mark sets the bit of the block that holds a byte.
func (p *pages) mark(pl plane, off int64) {
	s := p.at(pl, off, off+1)
	if pg := p.page(s.key, true); pg != nil {
		i := (off - s.start) / s.unit
		pg.words[i/64] |= 1 << (i % 64)
		pg.dirty = true
	}
}

// next gives the start of the first block at or behind from whose bit is as
// wanted, to when there is none before it. from must be the start of a block.
func (p *pages) next(pl plane, from, to int64, want bool) int64 {
	for from < to {
		s := p.at(pl, from, to)
		pg := p.page(s.key, false)
		if pg == nil && !want {
			return from
		}
		if pg != nil {
			i := int((s.from - s.start) / s.unit)
			if i = pg.find(i, want); i < pageBits {
				return min(to, s.start+int64(i)*s.unit)
			}
		}
		from = s.end
	}
	return to
}

// fill sets bits from first up to last.
func (pg *page) fill(first, last int, on bool) {
	pg.dirty = true
	for i := first; i < last; {
		word, bit := i/64, i%64
		n := min(64-bit, last-i)
		mask := ^uint64(0) >> (64 - n) << bit
		if on {
			pg.words[word] |= mask
		} else {
			pg.words[word] &^= mask
		}
		i += n
	}
}

// find gives the first bit from i on that is as wanted, pageBits when none is.
func (pg *page) find(i int, want bool) int {
	for word := i / 64; word < pageWords; word++ {
		w := pg.words[word]
		if !want {
			w = ^w
		}
		if word == i/64 {
			w = w >> (i % 64) << (i % 64)
		}
		if w != 0 {
			return word*64 + bits.TrailingZeros64(w)
		}
	}
	return pageBits
}

// page gives a page. One that was never set is nil, or made.
func (p *pages) page(k pageKey, make bool) *page {
	if pg := p.have[k]; pg != nil {
		pg.used = true
		return pg
	}
	slot, kept := p.slots[k]
	if !kept && !make || p.err != nil {
		return nil
	}
	pg := p.room()
	if pg == nil {
		return nil
	}
	*pg = page{key: k, used: true}
	if kept && !p.load(pg, slot) {
		return nil
	}
	p.have[k] = pg
	return pg
}

// room gives the memory of a page, whose bits go to the file.
func (p *pages) room() *page {
	if len(p.clock) < p.max {
		pg := new(page)
		p.clock = append(p.clock, pg)
		return pg
	}
	for {
		pg := p.clock[p.hand]
		p.hand = (p.hand + 1) % len(p.clock)
		if pg.used {
			pg.used = false
			continue
		}
		if pg.dirty && !p.store(pg) {
			return nil
		}
		delete(p.have, pg.key)
		return pg
	}
}

// fail remembers the file's first error.
func (p *pages) fail(err error) bool {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("keep the layout of the guest's files in a temporary file: %w", err)
	}
	return p.err == nil
}

// store writes a page to its slot in the file.
func (p *pages) store(pg *page) bool {
	if p.file == nil {
		f, err := os.CreateTemp(p.dir, "holdfast-layout-")
		if err != nil {
			return p.fail(err)
		}
		p.file = f
		if err := os.Remove(f.Name()); err != nil {
			return p.fail(err)
		}
	}
	slot, kept := p.slots[pg.key]
	if !kept {
		slot = int64(len(p.slots)) * pageBytes
		p.slots[pg.key] = slot
	}
	b := make([]byte, 0, pageBytes)
	for _, w := range pg.words {
		b = le.AppendUint64(b, w)
	}
	_, err := p.file.WriteAt(b, slot)
	return p.fail(err)
}

func (p *pages) load(pg *page, slot int64) bool {
	b := make([]byte, pageBytes)
	if _, err := p.file.ReadAt(b, slot); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return p.fail(err)
	}
	for i := range pg.words {
		pg.words[i] = le.Uint64(b[8*i:])
	}
	return true
}
