package image

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// follow is a plain reader of each format, written from the specifications
// and sharing nothing with the layouts: it finds a guest offset's place in
// the file by the file's own tables. It judges disks that no tool can be fed,
// full ones of 64 TiB for one. hole means that nothing is stored there.
type follow func(t *testing.T, read func(off int64, n int) []byte, guest int64) (place int64, hole bool)

var followers = map[Format]follow{
	Qcow2: func(t *testing.T, read func(int64, int) []byte, guest int64) (int64, bool) {
		be := binary.BigEndian
		h := read(0, 112)
		l1 := be.Uint64(read(int64(be.Uint64(h[40:]))+guest>>29*8, 8))
		if l1 == 0 {
			return 0, true
		}
		l2 := be.Uint64(read(int64(l1&^(1<<63))+guest>>16&8191*8, 8))
		if l2 == 0 {
			return 0, true
		}
		place := int64(l2 &^ (1 << 63))
		for _, at := range []int64{place, int64(l1 &^ (1 << 63))} { // both counted once
			block := int64(be.Uint64(read(int64(be.Uint64(h[48:]))+at>>31*8, 8)))
			if n := be.Uint16(read(block+at>>16&32767*2, 2)); n != 1 || at&65535 != 0 {
				t.Fatalf("cluster %#x: refcount %d", at, n)
			}
		}
		return place + guest&65535, false
	},
	VHD: func(t *testing.T, read func(int64, int) []byte, guest int64) (int64, bool) {
		be := binary.BigEndian
		h := read(int64(be.Uint64(read(16, 8))), 1024)
		n := guest >> 21
		if n >= int64(be.Uint32(h[28:])) {
			t.Fatalf("no table entry for block %d", n)
		}
		sector := be.Uint32(read(int64(be.Uint64(h[16:]))+4*n, 4))
		if sector == 0xffffffff {
			return 0, true
		}
		at := int64(sector) * 512
		if bits := read(at+guest>>12&511, 1); bits[0] != 0xff {
			t.Fatalf("bitmap byte %#x", bits[0])
		}
		return at + 512 + guest&(1<<21-1), false
	},
	VHDX: func(t *testing.T, read func(int64, int) []byte, guest int64) (int64, bool) {
		le := binary.LittleEndian
		bat := int64(le.Uint64(read(192<<10+16+16, 8)))
		length := int64(le.Uint32(read(192<<10+16+24, 4)))
		n := guest >> 21
		n += n / 2048
		if 8*n+8 > length {
			t.Fatalf("entry %d is past the table's %d bytes", n, length)
		}
		e := le.Uint64(read(bat+8*n, 8))
		if e == 0 {
			return 0, true
		}
		if e&(1<<20-1) != 6 {
			t.Fatalf("entry %#x", e)
		}
		return int64(e>>20)<<20 + guest&(1<<21-1), false
	},
	VMDK: func(t *testing.T, read func(int64, int) []byte, guest int64) (int64, bool) {
		le := binary.LittleEndian
		h := read(0, 512)
		var places [2]uint32
		for i, gd := range []int64{48, 56} { // both sets of tables must agree
			gt := int64(le.Uint32(read(int64(le.Uint64(h[gd:]))*512+guest>>25*4, 4)))
			if gt != 0 {
				places[i] = le.Uint32(read(gt*512+guest>>16&511*4, 4))
			}
		}
		if places[0] != places[1] {
			t.Fatalf("grain at %d and %d", places[0], places[1])
		}
		return int64(places[0])*512 + guest&65535, places[0] == 0
	},
}

// TestFollowTables reads huge dense disks through their tables at random
// places and at every border.
func TestFollowTables(t *testing.T) {
	for _, period := range []int64{1, 3, 8192, 3 * 8192} {
		for _, size := range []int64{64 * tib, 64*tib - 1, 2040 * gib, 1900 * gib, 5*gib + 512} {
			d := &patternDisk{size: size, period: period}
			for f, find := range followers {
				if !Supports(f, size, d.Count(Grain)) {
					continue
				}
				t.Run(fmt.Sprintf("%s-%d-every-%d", f, size, period), func(t *testing.T) {
					followTables(t, makeImage(t, f, d), d, find)
				})
			}
		}
	}
}

func followTables(t *testing.T, img Image, d *patternDisk, find follow) {
	ctx := context.Background()
	read := func(off int64, n int) []byte {
		p := make([]byte, n)
		if got, err := ReadAt(ctx, img, d, p, off); err != nil {
			t.Fatalf("read %d bytes at %d of %d: %d, %v", n, off, img.Size(), got, err)
		}
		return p
	}
	rng := rand.New(rand.NewPCG(1, uint64(d.size)))
	guests := []int64{0, 1, d.size - 1, d.size - 512}
	for range 40 {
		at := rng.Int64N(d.size)
		span := at / int64(Span) * int64(Span)
		grain := at / (d.period * int64(Grain)) * d.period * int64(Grain)
		guests = append(guests, at, span, span+4095, max(span-1, 0), grain, max(grain-1, 0))
	}
	for _, g := range guests {
		want := make([]byte, 1)
		if err := d.ReadAtContext(ctx, want, g); err != nil {
			t.Fatal(err)
		}
		place, hole := find(t, read, g)
		got := byte(0)
		if !hole {
			got = read(place, 1)[0]
		}
		if got != want[0] || hole && g/int64(Grain)%d.period == 0 {
			t.Fatalf("guest byte %d: %#x at %#x (hole %v), want %#x", g, got, place, hole, want[0])
		}
	}
}

// TestSegmentCost bounds the look-ups that one Segment makes, wherever it is,
// on a full disk and on sparse ones.
func TestSegmentCost(t *testing.T) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(3, 4))
	for _, period := range []int64{1, 8192, 3 * 8192} {
		d := &patternDisk{size: 64 * tib, period: period}
		for _, f := range []Format{Raw, Qcow2, VHDX} {
			img := makeImage(t, f, d)
			for range 3000 {
				before := d.lookups.Load()
				if _, err := img.Segment(ctx, rng.Int64N(img.Size()), 1<<20); err != nil {
					t.Fatal(err)
				}
				// 64 KiB of table have at most 32 entries set here.
				if n := d.lookups.Load() - before; n > 64 {
					t.Fatalf("%s, every %d: %d look-ups in one Segment", f, period, n)
				}
			}
		}
	}
}
