package lvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/volume/mapped"
)

func deviceOf(b []byte) *mapped.Device {
	return mapped.Disk("d", io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
}

// physicalVolume makes the head of a PV with a text, as LVM writes it; wrap
// moves the text so that it goes over the ring's end.
func physicalVolume(text []byte, wrap bool) []byte {
	const area = 4096
	ring := int64(1<<20 - area)
	b := make([]byte, 1<<20+512)
	le := binary.LittleEndian
	label := b[512:1024]
	copy(label, "LABELONE")
	le.PutUint64(label[8:], 1)
	le.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001")
	copy(label[32:], strings.Repeat("x", 32))
	le.PutUint64(label[64:], uint64(len(b)))
	le.PutUint64(label[72:], 1<<20)
	le.PutUint64(label[104:], area)
	le.PutUint64(label[112:], uint64(ring))
	le.PutUint32(label[16:], checksum(label[20:]))
	off := int64(512)
	if wrap {
		off = ring - int64(len(text))/2
	}
	h := b[area : area+512]
	copy(h[4:], mdaMagic)
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], area)
	le.PutUint64(h[32:], uint64(ring))
	le.PutUint64(h[40:], uint64(off))
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], checksum(text))
	le.PutUint32(h, checksum(h[4:]))
	n := copy(b[area+off:area+ring], text)
	copy(b[area+512:], text[n:])
	return b
}

const sample = `contents = "Text Format Volume Group" # a remark } {
version = 1
vg {
	id = "aaaaaa" seqno = 3 format = "lvm2" status = ["RESIZEABLE", "READ"] flags = []
	extent_size = 8 max_lv = 0 tags = ["a \"quoted\" } one", "b"]
	physical_volumes { pv0 { id = "xxxxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxxxx" pe_start = 16 pe_count = 200 } }
	logical_volumes {
		a { id = "1" status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 3 type = "striped" stripe_count = 1 stripes = ["pv0", 4] } }
		t { id = "2" status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 3 type = "thin" thin_pool = "p" device_id = 1 } }
		p { id = "3" status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 3 type = "thin-pool" pool = "a" metadata = "a" chunk_size = 128 } }
		m { id = "4" status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 3 type = "raid1" raids = ["a", "a", "a", "a"] } }
		x { id = "5" status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 4 type = "raid10" stripe_size = 8 raids = ["a", "a", "a", "a"] } }
		v { id = "6" status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 2 type = "vdo" } }
	}
}
`

// use opens a PV and reads a little of all its volumes.
func use(b []byte) (volumes int, err error) {
	ctx := context.Background()
	pv, err := Probe(ctx, deviceOf(b))
	if err != nil {
		return 0, err
	}
	groups, err := Assemble(ctx, []*PV{pv})
	for _, g := range groups {
		for _, v := range g.Volumes {
			volumes++
			p := make([]byte, 5000)
			for _, off := range []int64{0, v.Device.Size() / 2, v.Device.Size() - 1} {
				v.Device.ReadAt(p, off)
				v.Device.Runs(off, 1<<16)
			}
			v.Device.Solid()
		}
	}
	return volumes, err
}

func TestText(t *testing.T) {
	for _, wrap := range []bool{false, true} {
		b := physicalVolume([]byte(sample), wrap)
		if n, err := use(b); n != 6 || err != nil {
			t.Errorf("wrap %v: %d volumes, %v", wrap, n, err)
		}
	}
	root, err := parse([]byte(sample))
	if err != nil || root.section("vg").values["tags"][0].text != `a "quoted" } one` {
		t.Errorf("%v: %+v", err, root)
	}
	for end := range len(sample) {
		parse([]byte(sample)[:end])
		use(physicalVolume([]byte(sample)[:end], false))
	}
	deep := strings.Repeat("a{", 1<<20)
	if _, err := parse([]byte(deep)); !errors.Is(err, guest.ErrCorrupt) {
		t.Errorf("deep text: %v", err)
	}
}

// Volumes built upon themselves, or upon each other in a fan, end.
func TestLoops(t *testing.T) {
	head, _, _ := strings.Cut(sample, "\t\ta {")
	loop := head + `l { id="1" status=["VISIBLE"] segment1 { start_extent=0 extent_count=1 type="striped" stripe_count=1 stripes=["l",0] } } } }`
	fan := head
	for i := range 12 {
		next := fmt.Sprintf("f%d", i+1)
		fan += fmt.Sprintf("f%d { id=\"1\" status=[\"VISIBLE\"] segment1 { start_extent=0 extent_count=1 type=\"raid1\" raids=[%s] } }\n", i,
			strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%q,%q,", next, next), 16), ","))
	}
	fan += `f12 { id="1" status=["VISIBLE"] segment1 { start_extent=0 extent_count=1 type="striped" stripe_count=1 stripes=["pv0",0] } } } }`
	for name, text := range map[string]string{"loop": loop, "fan": fan} {
		start := time.Now()
		if _, err := use(physicalVolume([]byte(text), false)); err != nil || time.Since(start) > time.Minute {
			t.Errorf("%s: %v in %v", name, err, time.Since(start))
		}
	}
}

// The label, the areas' headers and the text cut off at any byte.
func TestTruncatedPV(t *testing.T) {
	b := physicalVolume([]byte(sample), false)
	for size := range 4096 + 512 + len(sample) + 100 {
		if n, _ := use(b[:size]); n > 0 && size < 4096+512+len(sample) {
			t.Fatalf("%d volumes in %d bytes", n, size)
		}
	}
}

func TestMutatedText(t *testing.T) {
	words := []string{"0", "1", "-1", "4294967295", "9223372036854775807", "a", "m", "pv0", "thin", "raid1", "raid10", "striped", "zero", "}", "{", "[", "]", "\"", "x", "p"}
	rnd := rand.New(rand.NewPCG(5, 6))
	built := 0
	for range guesttest.Rounds(t, 2000) {
		f := strings.Split(sample, " ")
		for range 1 + rnd.IntN(4) {
			at := rnd.IntN(len(f))
			w := words[rnd.IntN(len(words))]
			if strings.HasPrefix(f[at], "\"") {
				w = "\"" + w + "\""
			}
			f[at] = w
		}
		n, err := use(physicalVolume([]byte(strings.Join(f, " ")), false))
		if err != nil {
			t.Fatal(err)
		}
		built += n
	}
	if built == 0 {
		t.Error("no mutant had a volume")
	}
}

// Thin metadata with changed bytes and right sums.
func TestMutatedThin(t *testing.T) {
	meta := thinMeta(t)
	data := deviceOf(make([]byte, 400*64<<10))
	rnd := rand.New(rand.NewPCG(7, 8))
	opened, read := 0, 0
	for range guesttest.Rounds(t, 400) {
		b := bytes.Clone(meta[:64*nodeSize])
		for range 1 + rnd.IntN(6) {
			block := rnd.IntN(16)
			at := block*nodeSize + []int{rnd.IntN(400), rnd.IntN(64), 32 + 8*rnd.IntN(10), 2048 + rnd.IntN(100), 320 + rnd.IntN(40)}[rnd.IntN(5)]
			b[at] = []byte{byte(rnd.Uint32()), 0, 1, 2, 0xff}[rnd.IntN(5)]
			sum(b, block)
		}
		p, err := openPool(t.Context(), data, deviceOf(b), 64<<10)
		if err != nil {
			continue
		}
		opened++
		for id := range uint64(5) {
			root, _, ok, err := p.tree.find(p.top, id, 8)
			if err != nil || !ok {
				continue
			}
			d, err := mapped.New(1<<40, &thinMap{pool: p, known: true, root: root.number(0)}, 1, data)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if n, err := d.ReadAt(make([]byte, 1000), rnd.Int64N(1<<40)); err == nil {
					read += n
				}
			}
			runs := 0
			d.EachRun(0, 1<<40, func(mapped.Run) bool { runs++; return runs < 5000 })
		}
	}
	if opened == 0 || read == 0 {
		t.Errorf("%d opened, %d bytes read", opened, read)
	}
}

// sum makes a metadata block's checksum right.
func sum(b []byte, block int) {
	p := b[block*nodeSize:][:nodeSize]
	xor := uint32(nodeXor)
	if block == 0 {
		xor = superXor
	}
	binary.LittleEndian.PutUint32(p, blockSum(p, xor))
}

func FuzzText(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(strings.ReplaceAll(sample, "vdo", "zero")))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<16 {
			return
		}
		if _, err := use(physicalVolume(text, len(text)%2 == 0)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzLabel(f *testing.F) {
	b := physicalVolume([]byte(sample), false)[:8192]
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if b = bytes.Clone(b); sealed && len(b) >= 4096+512 {
			binary.LittleEndian.PutUint32(b[512+16:], checksum(b[512+20:1024]))
			binary.LittleEndian.PutUint32(b[4096:], checksum(b[4100:4608]))
		}
		use(b)
	})
}

// A text as large as may be, of a hundred thousand volumes.
func TestLargeText(t *testing.T) {
	head, _, _ := strings.Cut(sample, "\t\ta {")
	var b strings.Builder
	b.WriteString(head)
	for i := 0; b.Len() < 900<<10; i++ {
		fmt.Fprintf(&b, "l%d{id=\"1\"status=[\"VISIBLE\"]s{start_extent=0 extent_count=1 type=\"zero\"}}\n", i)
	}
	b.WriteString("}}\n")
	start := time.Now()
	if n, err := use(physicalVolume([]byte(b.String()), false)); err != nil || n < 10000 || time.Since(start) > time.Minute {
		t.Errorf("%d volumes, %v in %v", n, err, time.Since(start))
	}
}

// meanwhile is a volume while whose reads something else is done.
type meanwhile struct {
	guest.Volume
	do func()
}

func (v meanwhile) ReadAt(p []byte, off int64) (int, error) {
	n, err := v.Volume.ReadAt(p, off)
	v.do()
	return n, err
}

// TestProbeBesideAnother: a probe's buffer is no other's before it is over.
func TestProbeBesideAnother(t *testing.T) {
	b := physicalVolume([]byte(sample), false)
	v := meanwhile{io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), func() {
		if _, err := Probe(t.Context(), deviceOf(make([]byte, 1<<20))); !errors.Is(err, guest.ErrNotMine) {
			t.Errorf("zeros: %v", err)
		}
	}}
	for range 100 { // the race detector's pool loses some
		if pv, err := Probe(t.Context(), mapped.Disk("d", v)); err != nil || pv.Group != "vg" {
			t.Fatalf("%+v, %v", pv, err)
		}
	}
}
