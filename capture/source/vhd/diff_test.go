package vhd

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer/layertest"
)

// scattered picks runs of sectors of a random length of at least grain.
func scattered(seed uint64, sectors, grain int) func(int) bool {
	r := rand.New(rand.NewPCG(seed, 3))
	in := make([]bool, sectors)
	for i := 0; i < sectors; {
		n := grain * (1 + r.IntN(300))
		if r.IntN(4) == 0 {
			n *= 40
		}
		on := r.IntN(2) == 0
		for ; n > 0 && i < sectors; n, i = n-1, i+1 {
			in[i] = on
		}
	}
	return func(sector int) bool { return in[sector] }
}

// chain writes a base and two differencing images upon it and returns the
// path of the last and the bytes that it must show.
func chain(t *testing.T, dir string, seed uint64, blockSize, grain int, sizes [3]int) (string, []byte) {
	base := spec{kind: typeDynamic, guest: layertest.Guest(seed, int64(sizes[0]), 512), id: uuid{1}, stamp: 7, blockSize: 2 << 20}
	layertest.WriteFile(t, filepath.Join(dir, "base.vhd"), base.build())
	want, name := base.guest, "base.vhd"
	for i := 1; i < 3; i++ {
		s := spec{
			kind: typeDifferencing, guest: layertest.Guest(seed+uint64(i), int64(sizes[i]), 512), id: uuid{byte(i + 1)}, stamp: 7,
			blockSize: blockSize, present: scattered(seed+uint64(i), sizes[i]/512, grain),
			parentID: uuid{byte(i)}, parentStamp: 7, parentName: name,
			locators: map[string][]byte{"W2ru": utf16le(`.\` + name), "W2ku": utf16le(`C:\vm\` + name)},
		}
		want = s.under(want)
		name = fmt.Sprintf("child%d.vhd", i)
		layertest.WriteFile(t, filepath.Join(dir, name), s.build())
	}
	return filepath.Join(dir, name), want
}

// TestDifferencing reads chains against the bytes that made them.
func TestDifferencing(t *testing.T) {
	for i, c := range []struct {
		blockSize int
		sizes     [3]int
	}{
		{2 << 20, [3]int{9<<20 + 512, 9<<20 + 512, 9<<20 + 512}},
		{512, [3]int{64 << 10, 64 << 10, 64 << 10}},
		{4096, [3]int{1 << 20, 1 << 20, 1 << 20}},
		{512 << 10, [3]int{3 << 20, 5 << 20, 4 << 20}},            // longer and shorter than the parent
		{128 << 20, [3]int{6 << 20, 6 << 20, 6<<20 + 3*512}},      // a bitmap of two pages
		{2 << 20, [3]int{4<<20 + 512, 4<<20 + 1024, 4<<20 + 512}}, // edges of a block
	} {
		path, want := chain(t, t.TempDir(), uint64(i), c.blockSize, 1, c.sizes)
		opened := layertest.Open(t, Open, path)
		layertest.Check(t, opened, want, uint64(i))
		if len(opened.Files) != 3 || opened.Files[0] != path || len(opened.Notices) != 0 {
			t.Errorf("files %v, notices %v", opened.Files, opened.Notices)
		}
	}
}

// TestDifferencingJudged lets libvhdi read the same chain. Its bitmap reader
// is right only for runs of whole bitmap bytes, so the runs are multiples of
// eight sectors here; the byte oracle above knows no such limit.
func TestDifferencingJudged(t *testing.T) {
	for i, blockSize := range []int{2 << 20, 512 << 10} {
		path, want := chain(t, t.TempDir(), uint64(20+i), blockSize, 8, [3]int{6 << 20, 6 << 20, 6 << 20})
		judge := layertest.MountRaw(t, path)
		opened := layertest.Open(t, Open, path)
		layertest.Check(t, opened, judge, 1)
		layertest.Check(t, opened, want, 1)
	}
}

// TestEmptyBitmap: the blocks of a dynamic disk are read whatever the bitmap
// says, as qemu does (libvhdi gives zeros here, see the package's doc).
func TestEmptyBitmap(t *testing.T) {
	s := spec{kind: typeDynamic, guest: layertest.Guest(5, 4<<20, 512), id: uuid{1}, blockSize: 2 << 20, clearBits: true}
	path := layertest.WriteFile(t, filepath.Join(t.TempDir(), "disk.vhd"), s.build())
	opened := layertest.Open(t, Open, path)
	layertest.Check(t, opened, s.guest, 1)
	layertest.Check(t, opened, layertest.QemuRaw(t, "vpc", path), 1)
}

// TestParentLookup tries the ways in which a parent can be named.
func TestParentLookup(t *testing.T) {
	base := spec{kind: typeFixed, guest: layertest.Guest(1, 64<<10, 512), id: uuid{1}, stamp: 7}
	child := spec{
		kind: typeDifferencing, guest: make([]byte, 64<<10), id: uuid{2}, blockSize: 4096,
		present: func(int) bool { return false }, parentID: base.id,
	}
	for name, c := range map[string]struct {
		header   string
		locators map[string][]byte
		place    string // of the parent, below the directory
		follow   bool
		fails    any // type of error, nil: none
		says     string
	}{
		"relative":            {locators: map[string][]byte{"W2ru": utf16le(`.\sub\päter.vhd`)}, place: "img/sub/päter.vhd"},
		"absolute":            {locators: map[string][]byte{"W2ku": utf16le(`D:\old\place\base.vhd`)}, place: "img/base.vhd"},
		"stale, then name":    {locators: map[string][]byte{"W2ru": utf16le(`..\x\base.vhd`)}, place: "img/base.vhd"},
		"header only":         {header: "base.vhd", place: "img/base.vhd"},
		"url":                 {locators: map[string][]byte{"MacX": []byte("file://./base%20one.vhd\x00")}, place: "img/base one.vhd"},
		"deprecated, header":  {locators: map[string][]byte{"Wi2r": []byte("no.vhd")}, header: "base.vhd", place: "img/base.vhd"},
		"missing":             {header: "base.vhd", place: "img/other.vhd", fails: new(*source.MissingError), says: "base.vhd"},
		"outside":             {locators: map[string][]byte{"W2ru": utf16le(`..\up.vhd`)}, place: "up.vhd", fails: new(*source.RefusedError), says: "--follow-backing"},
		"outside but allowed": {locators: map[string][]byte{"W2ru": utf16le(`..\up.vhd`)}, place: "up.vhd", follow: true},
		"none":                {place: "img/base.vhd", fails: new(*source.CorruptError), says: "names no parent"},
		"too long": {locators: map[string][]byte{"W2ru": make([]byte, maxLocatorData+1)}, place: "img/base.vhd",
			fails: new(*source.CorruptError), says: "no path is"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "img/sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			layertest.WriteFile(t, filepath.Join(dir, c.place), base.build())
			child.parentName, child.locators = c.header, c.locators
			path := layertest.WriteFile(t, filepath.Join(dir, "img/child.vhd"), child.build())
			var opts source.Options
			if c.follow {
				opts.FollowBacking = []string{dir}
			}
			before := layertest.OpenFiles(t)
			opened, err := layertest.TryOpen(Open, path, opts)
			if c.fails != nil {
				if err == nil || !errors.As(err, c.fails) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("open: %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				layertest.Check(t, opened, base.guest, 1)
				opened.Close()
			}
			if after := layertest.OpenFiles(t); after != before {
				t.Errorf("%d files open before, %d after", before, after)
			}
		})
	}
}

// TestWrongParent names both UUIDs and closes what it opened.
func TestWrongParent(t *testing.T) {
	dir := t.TempDir()
	path, _ := chain(t, dir, 1, 4096, 1, [3]int{1 << 20, 1 << 20, 1 << 20})
	// child1 is replaced by an image that also has a parent of its own.
	s := spec{kind: typeDifferencing, guest: make([]byte, 1<<20), id: uuid{0x99}, blockSize: 4096,
		present: func(int) bool { return false }, parentID: uuid{1}, parentName: "base.vhd"}
	layertest.WriteFile(t, filepath.Join(dir, "child1.vhd"), s.build())
	before := layertest.OpenFiles(t)
	_, err := layertest.TryOpen(Open, path, source.Options{})
	if err == nil {
		t.Fatal("opened")
	}
	for _, say := range []string{uuid{2}.String(), uuid{0x99}.String(), "child1.vhd", "child2.vhd"} {
		if !strings.Contains(err.Error(), say) {
			t.Errorf("%q is not in: %v", say, err)
		}
	}
	if after := layertest.OpenFiles(t); after != before {
		t.Errorf("%d files open before, %d after", before, after)
	}
}

// TestStaleParent: another time is told, not refused.
func TestStaleParent(t *testing.T) {
	dir := t.TempDir()
	base := spec{kind: typeFixed, guest: make([]byte, 4096), id: uuid{1}, stamp: 7}
	layertest.WriteFile(t, filepath.Join(dir, "base.vhd"), base.build())
	child := spec{kind: typeDifferencing, guest: make([]byte, 4096), id: uuid{2}, blockSize: 4096,
		present: func(int) bool { return false }, parentID: uuid{1}, parentStamp: 100, parentName: "base.vhd"}
	path := layertest.WriteFile(t, filepath.Join(dir, "child.vhd"), child.build())
	if opened := layertest.Open(t, Open, path); len(opened.Notices) != 1 || !strings.Contains(opened.Notices[0], "base.vhd") {
		t.Errorf("notices: %q", opened.Notices)
	}
}

// TestLoop: images that name each other, and chains that are too long, end in
// an error.
func TestLoop(t *testing.T) {
	dir := t.TempDir()
	link := func(n, parent int) string {
		s := spec{kind: typeDifferencing, guest: make([]byte, 4096), id: uuid{byte(n)}, blockSize: 4096,
			present: func(int) bool { return false }, parentID: uuid{byte(parent)}, parentName: fmt.Sprintf("%d.vhd", parent)}
		return layertest.WriteFile(t, filepath.Join(dir, fmt.Sprintf("%d.vhd", n)), s.build())
	}
	before := layertest.OpenFiles(t)
	for name, path := range map[string]string{"self": link(1, 1), "pair": link(2, 3)} {
		link(3, 2)
		if _, err := layertest.TryOpen(Open, path, source.Options{}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 10; n < 80; n++ {
		link(n, n+1)
	}
	base := spec{kind: typeFixed, guest: layertest.Guest(1, 4096, 512), id: uuid{80}}
	layertest.WriteFile(t, filepath.Join(dir, "80.vhd"), base.build())
	if _, err := layertest.TryOpen(Open, filepath.Join(dir, "10.vhd"), source.Options{}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a chain of 71: %v", err)
	}
	if after := layertest.OpenFiles(t); after != before {
		t.Errorf("%d files open before, %d after", before, after)
	}
	layertest.Check(t, layertest.Open(t, Open, filepath.Join(dir, "40.vhd")), base.guest, 1)
}

// TestExtentOfChain: an extent of a long chain of empty layers is one short
// walk, not one for each block of each layer.
func TestExtentOfChain(t *testing.T) {
	dir := t.TempDir()
	const size = 16 << 20
	base := spec{kind: typeFixed, guest: make([]byte, size), id: uuid{1}}
	path := layertest.WriteFile(t, filepath.Join(dir, "1.vhd"), base.build())
	for n := 2; n <= 12; n++ {
		s := spec{kind: typeDifferencing, guest: make([]byte, size), id: uuid{byte(n)}, blockSize: 4096,
			present: func(int) bool { return false }, parentID: uuid{byte(n - 1)}, parentName: fmt.Sprintf("%d.vhd", n-1)}
		path = layertest.WriteFile(t, filepath.Join(dir, fmt.Sprintf("%d.vhd", n)), s.build())
	}
	opened := layertest.Open(t, Open, path)
	start := time.Now()
	e, err := opened.Extent(5)
	if err != nil || e.Length < 64<<10 {
		t.Errorf("extent: %+v, %v", e, err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("an extent took %v", took)
	}
	layertest.Check(t, opened, base.guest, 1)
}
