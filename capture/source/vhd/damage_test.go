package vhd

import (
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer/layertest"
)

// rounds sizes the random campaigns: -rounds 20000 for a long run.
var rounds = flag.Int("rounds", 400, "mutated images a test")

// small are images of each kind that are short enough to be cut anywhere.
func small() map[string][]byte {
	guest := layertest.Guest(2, 8<<10, 512)
	at := func(sector int) bool { return sector%3 == 1 }
	return map[string][]byte{
		"fixed":   spec{kind: typeFixed, guest: guest[:2048], id: uuid{1}}.build(),
		"dynamic": spec{kind: typeDynamic, guest: guest, id: uuid{1}, blockSize: 4096}.build(),
		"differencing": spec{kind: typeDifferencing, guest: guest, id: uuid{2}, blockSize: 4096, present: at, parentID: uuid{1},
			parentName: "base.vhd", locators: map[string][]byte{"W2ru": utf16le("base.vhd")}}.build(),
	}
}

// withBase makes a directory with the parent of small's differencing image.
func withBase(t testing.TB) string {
	dir := t.TempDir()
	layertest.WriteFile(t, filepath.Join(dir, "base.vhd"), small()["dynamic"])
	return dir
}

// TestTruncated cuts images at every byte. Only what lacks nothing but (a part
// of) its last footer may open, through the copy at the start; a cut block
// must be an error when it is reached.
func TestTruncated(t *testing.T) {
	dir := withBase(t)
	for name, image := range small() {
		path := filepath.Join(dir, "cut.vhd")
		layertest.Rewrite(t, path, image)
		for n := len(image) - 1; n >= 0; n-- {
			if err := os.Truncate(path, int64(n)); err != nil {
				t.Fatal(err)
			}
			err := layertest.Exercise(t, Open, path)
			var corrupt *source.CorruptError
			whole := name != "fixed" && n >= len(image)-footerSize || n == len(image)-1
			switch {
			case whole && err != nil:
				t.Errorf("%s cut at %d of %d: %v", name, n, len(image), err)
			case !whole && (!errors.As(err, &corrupt) || !strings.Contains(err.Error(), path)):
				t.Errorf("%s cut at %d of %d: %v", name, n, len(image), err)
			}
		}
	}
}

// TestFooters: the copy at the start stands in for a damaged footer, and a
// footer of 511 bytes counts.
func TestFooters(t *testing.T) {
	image := small()["dynamic"]
	path := filepath.Join(t.TempDir(), "disk.vhd")
	want := layertest.Guest(2, 8<<10, 512)

	layertest.Rewrite(t, path, image[:len(image)-1])
	opened := layertest.Open(t, Open, path)
	layertest.Check(t, opened, want, 1)
	if len(opened.Notices) != 0 {
		t.Errorf("a footer of 511 bytes: %q", opened.Notices)
	}

	damaged := append([]byte(nil), image...)
	damaged[len(damaged)-footerSize+50] ^= 1 // in the current size
	layertest.WriteFile(t, path, damaged)
	opened = layertest.Open(t, Open, path)
	layertest.Check(t, opened, want, 1)
	if len(opened.Notices) != 1 || !strings.Contains(opened.Notices[0], "checksum") {
		t.Errorf("a damaged footer: %q", opened.Notices)
	}

	damaged[50] ^= 1
	layertest.WriteFile(t, path, damaged)
	if _, err := layertest.TryOpen(Open, path, source.Options{}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("both footers damaged: %v", err)
	}
}

// TestRefused changes single fields, with good checksums, and wants an error
// that says what is wrong.
func TestRefused(t *testing.T) {
	const head = footerSize // the dynamic header's place
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	put64 := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) }
	}
	footer := func(change func([]byte)) func([]byte) {
		return func(b []byte) { change(b[len(b)-footerSize:]); change(b) }
	}
	for name, c := range map[string]struct {
		change func([]byte)
		says   string
	}{
		"size 0":           {footer(put64(48, 0)), "disk size of 0"},
		"negative size":    {footer(put64(48, 1<<63)), "disk size of -"},
		"size beyond BAT":  {footer(put64(48, 1<<40)), "the BAT has 2 entries"},
		"type 5":           {footer(put32(60, 5)), "disk type 5"},
		"version 2":        {footer(put32(12, 0x20000)), "format version 2.0"},
		"header far":       {footer(put64(16, 1<<40)), "truncated"},
		"header negative":  {footer(put64(16, ^uint64(0))), "truncated"},
		"header elsewhere": {footer(put64(16, 1)), "no VHD dynamic header"},
		"header version":   {put32(head+24, 0x70000), "header version 7.0"},
		"block size":       {put32(head+32, 3<<20), "power of two"},
		"block size small": {put32(head+32, 256), "power of two"},
		"table far":        {put64(head+16, 1<<62), "does not lie in the file"},
		"table negative":   {put64(head+16, 1<<63), "does not lie in the file"},
		"table unaligned":  {put64(head+16, 1537), "does not lie in the file"},
		"block far":        {put32(footerSize+headerSize+4, 0x7fffffff), "block 1 at byte"},
		"block cut":        {put32(footerSize+headerSize, 25), "truncated"},
	} {
		b := small()["dynamic"]
		c.change(b)
		mend(b)
		path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "disk.vhd"), b)
		if err := layertest.Exercise(t, Open, path); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mend makes the checksums of an image of small right again.
func mend(b []byte) {
	if len(b) < 2*footerSize+headerSize {
		return
	}
	binary.BigEndian.PutUint32(b[64:], sum(b[:footerSize], 64))
	last := b[len(b)-footerSize:]
	binary.BigEndian.PutUint32(last[64:], sum(last, 64))
	head := b[footerSize:][:headerSize]
	binary.BigEndian.PutUint32(head[36:], sum(head, 36))
}

// TestMutated reads damaged images: no panic, no hang, bounded memory.
func TestMutated(t *testing.T) {
	refused := 0
	for _, image := range small() {
		n := len(image)
		if n < 4096 {
			continue
		}
		hot := [][2]int{{8, footerSize}, {footerSize, footerSize + headerSize}, {footerSize + headerSize, footerSize + headerSize + 1024}, {n - footerSize, n}}
		refused += layertest.Mutate(t, Open, image, hot, mend, *rounds, 1)
	}
	if refused == 0 {
		t.Error("no mutated image was refused")
	}
}

func FuzzOpen(f *testing.F) {
	for _, image := range small() {
		f.Add(image)
	}
	dir := withBase(f)
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) > 1<<20 {
			return
		}
		path := filepath.Join(dir, "fuzz.vhd")
		layertest.Rewrite(t, path, image)
		layertest.Exercise(t, Open, path)
		mend(image)
		layertest.Rewrite(t, path, image)
		layertest.Exercise(t, Open, path)
	})
}
