package mapped

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"holdfast/fs/guest"
)

// pattern is a disk whose bytes tell where they are: each word of 8 bytes is
// the disk's number and the word's offset.
func pattern(number, size int) []byte {
	b := make([]byte, size)
	for at := 0; at+8 <= size; at += 8 {
		binary.BigEndian.PutUint64(b[at:], uint64(number)<<56|uint64(at))
	}
	return b
}

func disk(number, size int) (*Device, []byte) {
	b := pattern(number, size)
	return Disk(fmt.Sprint(number), io.NewSectionReader(bytes.NewReader(b), 0, int64(size))), b
}

func must(t *testing.T) func(d *Device, err error) *Device {
	return func(d *Device, err error) *Device {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// agree compares random reads with the bytes wanted, and the runs with both.
func agree(t *testing.T, d *Device, want []byte, disks map[string][]byte) {
	t.Helper()
	if d.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", d.Size(), len(want))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off := rnd.IntN(len(want) + 2)
		p := make([]byte, rnd.IntN(len(want)/2))
		n, err := d.ReadAt(p, int64(off))
		left := want[min(off, len(want)):]
		if n != min(len(p), len(left)) || !bytes.Equal(p[:n], left[:n]) || (n < len(p)) != (err == io.EOF) && off != len(want) {
			t.Fatalf("read %d at %d: %d, %v", len(p), off, n, err)
		}
		at := int64(off)
		err = d.EachRun(int64(off), int64(len(p)), func(r Run) bool {
			if r.Copy == 0 {
				at = r.Offset + r.Length
			}
			if !bytes.Equal(disks[r.Disk][r.DiskOffset:][:r.Length], want[r.Offset:][:r.Length]) {
				t.Fatalf("run %+v is not what is read", r)
			}
			return true
		})
		if err != nil || at != int64(off+n) {
			t.Fatalf("runs of %d at %d end at %d: %v", len(p), off, at, err)
		}
	}
}

func TestShapes(t *testing.T) {
	ok := must(t)
	a, ab := disk(1, 4096)
	b, bb := disk(2, 4096)
	disks := map[string][]byte{"1": ab, "2": bb}
	part := ok(Slice(a, 1024, 2048))
	agree(t, part, ab[1024:3072], disks)
	agree(t, ok(Join([]*Device{part, b, ok(Slice(a, 0, 8))})), append(append(bytes.Clone(ab[1024:3072]), bb...), ab[:8]...), disks)
	agree(t, ok(Mirror(2048, []*Device{part, ok(Slice(a, 1024, 2048))})), ab[1024:3072], disks)
	var want []byte
	for at := 0; at < 4096; at += 512 {
		want = append(append(want, ab[at:at+512]...), bb[at:at+512]...)
	}
	stripes := ok(Stripe(8192, 512, []*Device{a, b}))
	agree(t, stripes, want, disks)
	if got := strings.Join(stripes.Disks(), " "); got != "1 2" {
		t.Errorf("disks %s", got)
	}
	if _, _, solid := stripes.Solid(); solid {
		t.Error("stripes are one run")
	}
	if name, off, solid := part.Solid(); !solid || name != "1" || off != 1024 {
		t.Errorf("a slice lies on %s at %d, %v", name, off, solid)
	}
}

// The man page's pictures (md(4), and the doc of Layout10), one letter a chunk.
func TestRaid10Pictures(t *testing.T) {
	for _, c := range []struct {
		name    string
		l       Layout10
		legs    int
		picture string // rows of chunks on legs
	}{
		{"near 2 of 4", Layout10{Near: 2, Far: 1}, 4, "AABB CCDD EEFF GGHH"},
		{"near 2 of 3", Layout10{Near: 2, Far: 1}, 3, "AAB BCC DDE EFF"},
		{"near 2 of 5", Layout10{Near: 2, Far: 1}, 5, "AABBC CDDEE FFGGH HIIJJ"},
		{"near 3 of 4", Layout10{Near: 3, Far: 1}, 4, "AAAB BBCC CDDD"},
		{"far 2 of 4", Layout10{Near: 1, Far: 2}, 4, "ABCD EFGH DABC HEFG"},
		{"far 2 of 3", Layout10{Near: 1, Far: 2}, 3, "ABC DEF CAB FDE"},
		{"offset 2 of 4", Layout10{Near: 1, Far: 2, Offset: true}, 4, "ABCD DABC EFGH HEFG"},
		{"offset 2 of 3", Layout10{Near: 1, Far: 2, Offset: true}, 3, "ABC CAB DEF FDE"},
		{"far 2 in sets, of 4", Layout10{Near: 1, Far: 2, Sets: true}, 4, "ABCD EFGH BADC FEHG"},
		{"offset 2 in sets, of 4", Layout10{Near: 1, Far: 2, Offset: true, Sets: true}, 4, "ABCD BADC EFGH FEHG"},
	} {
		rows := strings.Fields(c.picture)
		c.l.Chunk = 512
		var legs []*Device
		disks := map[string][]byte{}
		for leg := range c.legs {
			var b []byte
			for _, row := range rows {
				b = append(b, bytes.Repeat([]byte{row[leg]}, 512)...)
			}
			name := fmt.Sprint(leg)
			disks[name] = b
			legs = append(legs, Disk(name, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))))
		}
		d, err := Raid10(c.l, int64(len(rows)*512), legs, errGone)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		last := byte(0)
		for _, x := range c.picture {
			last = max(last, byte(x))
		}
		var want []byte
		for letter := byte('A'); letter <= last; letter++ {
			want = append(want, bytes.Repeat([]byte{letter}, 512)...)
		}
		t.Run(c.name, func(t *testing.T) {
			agree(t, d, want, disks)
			places := map[string]bool{}
			d.EachRun(0, d.Size(), func(r Run) bool {
				for at := int64(0); at < r.Length; at += 512 {
					places[fmt.Sprint(r.Disk, r.DiskOffset+at)] = true
				}
				return true
			})
			if len(places) != len(rows)*c.legs {
				t.Errorf("%d of %d chunks are reached", len(places), len(rows)*c.legs)
			}
			for i := range legs { // any single leg may go
				some := append([]*Device(nil), legs...)
				some[i] = nil
				agree(t, must(t)(Raid10(c.l, int64(len(rows)*512), some, errGone)), want, disks)
			}
			if d := must(t)(Raid10(c.l, int64(len(rows)*512), make([]*Device, c.legs), errGone)); d.Size() > 0 {
				if _, err := d.ReadAt(make([]byte, 1), 0); !errors.Is(err, errGone) {
					t.Errorf("all legs gone: %v", err)
				}
			}
		})
	}
}

var errGone = errors.New("gone")

// A mirror goes on with its second leg; a leg that ends early is an error and
// no end.
func TestErrors(t *testing.T) {
	ok := must(t)
	a, ab := disk(1, 4096)
	p := make([]byte, 4096)
	mirror := ok(Mirror(4096, []*Device{Refuse(4096, errGone), a}))
	if n, err := mirror.ReadAt(p, 0); n != 4096 || err != nil || !bytes.Equal(p, ab) {
		t.Errorf("second leg: %d, %v", n, err)
	}
	mirror = ok(Mirror(4096, []*Device{Refuse(4096, errGone), Refuse(4096, io.EOF)}))
	if n, err := mirror.ReadAt(p, 0); n != 0 || !errors.Is(err, errGone) {
		t.Errorf("no leg: %d, %v", n, err)
	}
	long := ok(Slice(a, 4000, 4096))
	if n, err := long.ReadAt(p[:100], 0); n != 96 && n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("slice beyond the end: %d, %v", n, err)
	}
	if runs, err := long.Runs(0, 4096); err != nil || len(runs) != 1 || runs[0].Length != 96 {
		t.Errorf("runs beyond the end: %v, %v", runs, err)
	}
	if n, err := a.ReadAt(p, 4096); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := a.ReadAt(p[:1], -1); n != 0 || err == nil {
		t.Errorf("before the start: %d, %v", n, err)
	}
}

// Hostile stacks are refused: deep ones, and those with too many copies.
func TestBounds(t *testing.T) {
	deep, _ := disk(1, 512)
	wide, _ := disk(1, 512)
	var errDeep, errWide error
	for range 100 {
		if next, err := Slice(deep, 0, 512); err == nil {
			deep = next
		} else {
			errDeep = err
		}
		if next, err := Mirror(512, []*Device{wide, wide, wide}); err == nil {
			wide = next
		} else {
			errWide = err
		}
	}
	if !errors.Is(errDeep, guest.ErrCorrupt) || !errors.Is(errWide, guest.ErrCorrupt) {
		t.Errorf("deep: %v, wide: %v", errDeep, errWide)
	}
}

// grains is a hole that is told of in pieces of 512 bytes.
type grains struct{}

func (grains) Piece(_, limit int64) (Piece, error) { return Piece{Length: min(limit, 512)}, nil }

// A mapping that tells of a hole piece by piece does not hold anybody up.
func TestEndlessHoles(t *testing.T) {
	d := must(t)(New(1<<62, grains{}, 1))
	if _, err := d.Runs(0, d.Size()); !errors.Is(err, guest.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	if _, _, ok := d.Solid(); ok {
		t.Error("a hole is solid")
	}
	if runs, err := d.Runs(0, 1<<20); len(runs) != 0 || err != nil {
		t.Errorf("%v, %v", runs, err)
	}
}
