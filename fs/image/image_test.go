package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// whole reads the image from end to end.
func whole(t testing.TB, img Image, d Disk) []byte {
	t.Helper()
	p := make([]byte, img.Size())
	if n, err := ReadAt(context.Background(), img, d, p, 0); err != nil || n != len(p) {
		t.Fatalf("read %d of %d bytes: %v", n, len(p), err)
	}
	return p
}

// smallDisks are disks whose images can be held whole.
func smallDisks() []*sparseDisk {
	var disks []*sparseDisk
	for _, size := range []int64{1, 511, 512, 513, 512 * 3, 64*kib - 512, 64 * kib, 64*kib + 1, 2*mib - 1, 2*mib + 512, 4*mib + 512, 20*mib + 77} {
		for i, how := range []fill{empty, full, random, last} {
			if how != full || size < 3*mib {
				disks = append(disks, newDisk(size, how, uint64(i)))
			}
		}
	}
	return append(disks, newDisk(2*gib+5, random, 9))
}

// TestPieces: any range reads as the same range of the whole, at any
// alignment, from another opening of the same image; Segment's answers agree.
func TestPieces(t *testing.T) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(5, 6))
	for _, d := range smallDisks() {
		for _, f := range Formats()[1:] {
			img := makeImage(t, f, d)
			all := whole(t, img, d)
			again := NewReaderAt(ctx, makeImage(t, f, d), d)
			for range 40 {
				off := rng.Int64N(img.Size())
				checkPiece(t, again, all, off, 1+rng.IntN(200_000))
				checkPiece(t, again, all, off/512*512, 1+rng.IntN(3))
				checkPiece(t, again, all, max(img.Size()-rng.Int64N(2000), 0), 2000)
			}
			checkSegments(t, img, d, all)
		}
	}
}

func checkPiece(t testing.TB, r io.ReaderAt, all []byte, off int64, length int) {
	t.Helper()
	p := bytes.Repeat([]byte{0xa5}, length)
	n, err := r.ReadAt(p, off)
	want := all[min(off, int64(len(all))):min(off+int64(length), int64(len(all)))]
	if !bytes.Equal(p[:n], want) {
		t.Fatalf("%d bytes at %d of %d differ", length, off, len(all))
	}
	if short := n < length; short != (err == io.EOF) || !short && err != nil {
		t.Fatalf("%d of %d bytes at %d of %d: %v", n, length, off, len(all), err)
	}
}

// checkSegments walks with odd steps: kinds and lengths keep the contract,
// holes are zeros, and data that Extent names covers everything else.
func checkSegments(t testing.TB, img Image, d *sparseDisk, all []byte) {
	t.Helper()
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(7, 8))
	for off := int64(0); off < img.Size(); {
		limit := 1 + rng.Int64N(300_000)
		s, err := img.Segment(ctx, off, limit)
		if err != nil || s.Length < 1 || s.Length > min(limit, img.Size()-off) {
			t.Fatalf("segment at %d of %d: length %d of %d, %v", off, img.Size(), s.Length, limit, err)
		}
		if s.Kind == Made && int64(len(s.Bytes)) != s.Length || s.Kind == Guest && s.GuestOff+s.Length > d.size {
			t.Fatalf("segment at %d: %+v", off, s)
		}
		if s.Kind == Zeros && !allZero(all[off:off+s.Length]) {
			t.Fatalf("zeros of %d bytes at %d are not", s.Length, off)
		}
		length, data, err := Extent(ctx, img, d, off)
		if err != nil || length < 1 || off+length > img.Size() {
			t.Fatalf("extent at %d: %d, %v", off, length, err)
		}
		if !data && !allZero(all[off:off+length]) {
			t.Fatalf("hole of %d bytes at %d is not", length, off)
		}
		off += s.Length
	}
}

func allZero(p []byte) bool { return bytes.Count(p, []byte{0}) == len(p) }

// TestRawIsTheDisk: size, bytes and extents are the disk's own.
func TestRawIsTheDisk(t *testing.T) {
	ctx := context.Background()
	for _, d := range smallDisks() {
		img := makeImage(t, Raw, d)
		if img.Size() != d.size || img.AllocatedBytes() != d.DataBytes() {
			t.Fatalf("raw of %d bytes: size %d, allocated %d", d.size, img.Size(), img.AllocatedBytes())
		}
		for _, off := range spots(d) {
			length, data, err := Extent(ctx, img, d, off)
			wantLength, wantData, _ := d.Extent(ctx, off)
			if err != nil || length != wantLength || data != wantData {
				t.Fatalf("extent at %d: %d, %v, %v", off, length, data, err)
			}
			p := make([]byte, min(200_000, d.size-off))
			if _, err := ReadAt(ctx, img, d, p, off); err != nil {
				t.Fatal(err)
			}
			sameAs(t, d, p, off)
		}
	}
}

// TestNowhere: offsets outside the file.
func TestNowhere(t *testing.T) {
	ctx := context.Background()
	d := newDisk(4*mib+512, random, 1)
	for _, f := range Formats() {
		img := makeImage(t, f, d)
		if _, err := img.Segment(ctx, img.Size(), 1); err != io.EOF {
			t.Errorf("%s: segment at the end: %v", f, err)
		}
		if s, err := img.Segment(ctx, img.Size()-1, 1<<62); err != nil || s.Length != 1 {
			t.Errorf("%s: last byte: %+v, %v", f, s, err)
		}
		for _, bad := range [][2]int64{{-1, 1}, {0, 0}, {0, -1}} {
			if _, err := img.Segment(ctx, bad[0], bad[1]); err == nil || err == io.EOF {
				t.Errorf("%s: segment %v: %v", f, bad, err)
			}
		}
		r := NewReaderAt(ctx, img, d)
		for _, off := range []int64{img.Size(), img.Size() + 1, 1<<63 - 1} {
			if n, err := r.ReadAt(make([]byte, 3), off); n != 0 || err != io.EOF {
				t.Errorf("%s: read at %d: %d, %v", f, off, n, err)
			}
		}
		if n, err := r.ReadAt(nil, 0); n != 0 || err != nil {
			t.Errorf("%s: empty read: %d, %v", f, n, err)
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
			t.Errorf("%s: negative read: %v", f, err)
		}
	}
}

// TestSizes: images are about as large as what is stored, and say so.
func TestSizes(t *testing.T) {
	for _, d := range append(smallDisks(), newDisk(64*tib, random, 1), newDisk(64*tib, empty, 1)) {
		for _, f := range Formats() {
			if !Supports(f, d.size, d.Count(Grain)) {
				continue
			}
			img := makeImage(t, f, d)
			if a := img.AllocatedBytes(); a < d.DataBytes() || a > img.Size() {
				t.Errorf("%s of %d: %d bytes allocated, %d stored, file of %d", f, d.size, a, d.DataBytes(), img.Size())
			}
			spare := d.Count(Grain)*int64(Grain) + d.Count(Span)*66*kib
			if a := img.AllocatedBytes(); f != VHD && a > spare+64*kib+8*kib*d.Count(Block) {
				t.Errorf("%s of %d: %d bytes allocated for %d stored", f, d.size, a, d.DataBytes())
			}
			if f == Qcow2 && img.Size() > spare+2*mib {
				t.Errorf("qcow2 of %d: file of %d for %d grains", d.size, img.Size(), d.Count(Grain))
			}
		}
	}
}

// TestSeek walks data and holes as cp does and must find every stored byte.
func TestSeek(t *testing.T) {
	ctx := context.Background()
	for _, d := range append(smallDisks(), newDisk(64*tib, random, 2)) {
		for _, f := range Formats() {
			if !Supports(f, d.size, d.Count(Grain)) {
				continue
			}
			img := makeImage(t, f, d)
			if got, hole := walk(t, img, d), f == Raw; got < d.DataBytes() || hole && got != d.DataBytes() {
				t.Errorf("%s of %d: %d bytes in data, %d stored", f, d.size, got, d.DataBytes())
			}
			for _, seek := range []func(context.Context, Image, Disk, int64) (int64, error){SeekData, SeekHole} {
				if _, err := seek(ctx, img, d, img.Size()); err != io.EOF {
					t.Errorf("%s: seek at the end: %v", f, err)
				}
			}
		}
	}
}

// walk returns how many bytes are in data runs.
func walk(t *testing.T, img Image, d Disk) (n int64) {
	t.Helper()
	ctx := context.Background()
	for off := int64(0); off < img.Size(); {
		data, err := SeekData(ctx, img, d, off)
		if err == io.EOF {
			return n
		}
		if err != nil || data < off {
			t.Fatalf("seek data from %d: %d, %v", off, data, err)
		}
		if off, err = SeekHole(ctx, img, d, data); err != nil || off <= data {
			t.Fatalf("seek hole from %d: %d, %v", data, off, err)
		}
		n += off - data
	}
	return n
}

// liar answers at random: a damaged disk map.
type liar struct {
	*sparseDisk
	rng *rand.Rand
}

func (l *liar) number() int64 {
	return []int64{-1, 0, 1, l.rng.Int64N(1000), 1 << 40, 1<<63 - 1}[l.rng.IntN(6)]
}

func (l *liar) Rank(context.Context, Unit, int64) (int64, bool, error) {
	return l.number(), l.rng.IntN(2) == 0, nil
}

func (l *liar) Select(context.Context, Unit, int64) (int64, error) { return l.number(), nil }

func (l *liar) Extent(context.Context, int64) (int64, bool, error) {
	return l.number(), l.rng.IntN(2) == 0, nil
}

// TestDamagedMap: contradictions end in errors, never in a panic, and never
// in a segment outside the contract.
func TestDamagedMap(t *testing.T) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(9, 9))
	failed := 0
	for seed := range uint64(20) {
		d := &liar{newDisk(4*gib+512, random, seed), rng}
		for _, f := range Formats() {
			img := makeImage(t, f, d)
			for range 300 {
				off, limit := rng.Int64N(img.Size()), 1+rng.Int64N(1<<20)
				s, err := img.Segment(ctx, off, limit)
				if errors.Is(err, errCounts) {
					failed++
				} else if err != nil {
					t.Fatal(err)
				} else if s.Length < 1 || s.Length > limit || s.Kind == Guest && (s.GuestOff < 0 || s.GuestOff+s.Length > d.size) {
					t.Fatalf("%s at %d: %+v", f, off, s)
				}
			}
		}
	}
	if failed == 0 {
		t.Fatal("no lie was noticed")
	}
}

// broken fails every look-up.
type broken struct{ *sparseDisk }

var errBroken = errors.New("map unreadable")

func (broken) Rank(context.Context, Unit, int64) (int64, bool, error) { return 0, false, errBroken }
func (broken) Select(context.Context, Unit, int64) (int64, error)     { return 0, errBroken }
func (broken) Extent(context.Context, int64) (int64, bool, error)     { return 0, false, errBroken }
func (broken) ReadAtContext(context.Context, []byte, int64) error     { return errBroken }

// TestErrorsPass: the disk's own error comes through, with the format's name.
func TestErrorsPass(t *testing.T) {
	d := broken{newDisk(4*mib, full, 1)}
	for _, f := range Formats() {
		img := makeImage(t, f, d)
		_, err := ReadAt(context.Background(), img, d, make([]byte, img.Size()), 0)
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", f, err)
		}
		if _, _, err := Extent(context.Background(), img, d, img.Size()-1-vhdFooterLen); !errors.Is(err, errBroken) {
			t.Errorf("%s: extent: %v", f, err)
		}
	}
}

// FuzzPieces compares a piece of any made-up image with the whole of it.
func FuzzPieces(f *testing.F) {
	f.Add(uint32(512), uint64(1), uint32(0), uint32(512))
	f.Add(uint32(65<<10), uint64(2), uint32(65535), uint32(70000))
	f.Add(uint32(4<<20+1), uint64(3), uint32(1<<20-7), uint32(3<<20))
	f.Add(uint32(6<<20), uint64(4), uint32(1535), uint32(3))
	f.Fuzz(func(t *testing.T, size uint32, seed uint64, off, length uint32) {
		d := newDisk(1+int64(size%(6<<20)), random, seed)
		for _, format := range Formats() {
			img := makeImage(t, format, d)
			r := NewReaderAt(context.Background(), img, d)
			checkPiece(t, r, whole(t, img, d), int64(off)%(img.Size()+1), int(length%(8<<20)))
		}
	})
}

// BenchmarkSegment asks for 128 KiB at random places of a 64 TiB disk (2040
// GiB for VHD, 1900 GiB for VMDK), full and with every third grain stored.
func BenchmarkSegment(b *testing.B) {
	for _, period := range []int64{1, 3, 8192} {
		for _, f := range Formats() {
			size := map[Format]int64{VHD: 2040 * gib, VMDK: 1900 * gib}[f]
			if size == 0 {
				size = 64 * tib
			}
			d := &patternDisk{size: size, period: period}
			img := makeImage(b, f, d)
			for where, end := range map[string]int64{"all": img.Size(), "tables": min(img.Size(), 4*mib)} {
				b.Run(fmt.Sprintf("%s/every-%d/%s", f, period, where), func(b *testing.B) {
					rng := rand.New(rand.NewPCG(1, 1))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := img.Segment(context.Background(), rng.Int64N(end), 128<<10); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
