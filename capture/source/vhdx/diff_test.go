package vhdx

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer/layertest"
)

// scattered picks runs of sectors of random length.
func scattered(seed uint64, sectors int) func(int) bool {
	r := rand.New(rand.NewPCG(seed, 3))
	in := make([]bool, sectors)
	for i := 0; i < sectors; {
		n := 1 + r.IntN(300)
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

// linkage makes a parent locator.
func linkage(id guid, name string) map[string]string {
	return map[string]string{
		"parent_linkage":      "{" + id.String() + "}",
		"relative_path":       `.\` + name,
		"volume_path":         `\\?\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\vm\` + name,
		"absolute_win32_path": `\\?\C:\vm\` + name,
	}
}

// chain writes a base and two differencing images upon it and returns the
// path of the last and the bytes that it must show.
func chain(t *testing.T, dir string, seed uint64, sector, blockSize int, sizes [3]int, states map[int]uint64) (string, []byte) {
	grain := int64(sector)
	base := spec{guest: layertest.Guest(seed, int64(sizes[0]), grain), blockSize: 1 << 20, sector: sector, dataWrite: guid{1}}
	layertest.WriteFile(t, filepath.Join(dir, "base.vhdx"), base.build())
	want, name := base.guest, "base.vhdx"
	for i := 1; i < 3; i++ {
		s := spec{
			guest: layertest.Guest(seed+uint64(i), int64(sizes[i]), grain), blockSize: blockSize, sector: sector, dataWrite: guid{byte(i + 1)},
			present: scattered(seed+uint64(i), sizes[i]/sector), parent: linkage(guid{byte(i)}, name), states: states,
		}
		want = s.under(want)
		name = fmt.Sprintf("child%d.vhdx", i)
		layertest.WriteFile(t, filepath.Join(dir, name), s.build())
	}
	return filepath.Join(dir, name), want
}

// TestDifferencing reads chains against the bytes that made them.
func TestDifferencing(t *testing.T) {
	for i, c := range []struct {
		sector, blockSize int
		sizes             [3]int
		states            map[int]uint64
	}{
		{512, 1 << 20, [3]int{9<<20 + 512, 9<<20 + 512, 9<<20 + 512}, nil},
		{4096, 1 << 20, [3]int{5 << 20, 5<<20 + 4096, 5<<20 + 4096}, nil},
		{512, 2 << 20, [3]int{5 << 20, 9 << 20, 7 << 20}, nil}, // longer and shorter than the parent
		{512, 32 << 20, [3]int{9 << 20, 9 << 20, 9 << 20}, nil},
		{512, 1 << 20, [3]int{9 << 20, 9 << 20, 9 << 20}, map[int]uint64{0: zeroed, 1: undefined, 2: unmapped, 3: notPresent, 4: fullyPresent}},
	} {
		path, want := chain(t, t.TempDir(), uint64(i), c.sector, c.blockSize, c.sizes, c.states)
		opened := layertest.Open(t, Open, path)
		layertest.Check(t, opened, want, uint64(i))
		if len(opened.Files) != 3 || opened.Files[0] != path || len(opened.Notices) != 0 {
			t.Errorf("files %v, notices %v", opened.Files, opened.Notices)
		}
	}
}

// TestDifferencingJudged lets libvhdi read the same chains.
func TestDifferencingJudged(t *testing.T) {
	for i, sector := range []int{512, 4096} {
		path, want := chain(t, t.TempDir(), uint64(20+i), sector, 2<<20, [3]int{6 << 20, 6 << 20, 6 << 20}, nil)
		judge := layertest.MountRaw(t, path)
		opened := layertest.Open(t, Open, path)
		layertest.Check(t, opened, judge, 1)
		layertest.Check(t, opened, want, 1)
	}
}

// TestChunks reads a disk of more than one chunk, where sector bitmap entries
// lie between the payload entries. 16 blocks of 256 MiB are a chunk.
func TestChunks(t *testing.T) {
	if b := (&bat{ratio: 16}); b.payloadIndex(15) != 15 || b.bitmapIndex(15) != 16 || b.payloadIndex(16) != 17 || b.bitmapIndex(16) != 33 || b.payloadIndex(32) != 34 {
		t.Error("the BAT is indexed wrongly")
	}
	path := filepath.Join(t.TempDir(), "disk.vhdx")
	layertest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=256M", path, "9G")
	args := []string{"-f", "vhdx"}
	for gib := range 9 {
		args = append(args, "-c", fmt.Sprintf("write -P %d %dM 4k", gib+1, gib*1024+512))
	}
	layertest.Run(t, "qemu-io", append(args, path)...)
	opened := layertest.Open(t, Open, path)
	var p [1]byte
	for gib := range int64(9) {
		if _, err := opened.ReadAt(p[:], gib<<30+512<<20+4095); err != nil || p[0] != byte(gib+1) {
			t.Errorf("GiB %d: %d, %v", gib, p[0], err)
		}
	}
}

// TestParentLookup tries the ways in which a parent can be named.
func TestParentLookup(t *testing.T) {
	base := spec{guest: layertest.Guest(1, 64<<10, 512), blockSize: 1 << 20, dataWrite: guid{1, 2, 3, 4, 5, 6, 7, 8}}
	id := strings.ToUpper(base.dataWrite.String())
	for name, c := range map[string]struct {
		parent map[string]string
		place  string // of the parent, below the directory
		fails  any    // type of error, nil: none
		says   string
	}{
		"relative":       {parent: map[string]string{"parent_linkage": "{" + id + "}", "relative_path": `sub\b.vhdx`}, place: "img/sub/b.vhdx"},
		"volume":         {parent: map[string]string{"parent_linkage": "{" + id + "}", "volume_path": `\\?\Volume{1}\x\b.vhdx`}, place: "img/b.vhdx"},
		"win32":          {parent: map[string]string{"parent_linkage": id, "absolute_win32_path": `\\?\d:\x\b.vhdx`}, place: "img/b.vhdx"},
		"second linkage": {parent: map[string]string{"parent_linkage": guid{9}.String(), "parent_linkage2": id, "relative_path": "b.vhdx"}, place: "img/b.vhdx"},
		"wrong linkage": {parent: map[string]string{"parent_linkage": guid{9}.String(), "relative_path": "b.vhdx"}, place: "img/b.vhdx",
			fails: new(*source.CorruptError), says: base.dataWrite.String()},
		"no linkage": {parent: map[string]string{"relative_path": "b.vhdx"}, place: "img/b.vhdx", fails: new(*source.CorruptError), says: "parent_linkage"},
		"bad linkage": {parent: map[string]string{"parent_linkage": "{12}", "relative_path": "b.vhdx"}, place: "img/b.vhdx",
			fails: new(*source.CorruptError), says: "not a GUID"},
		"missing":  {parent: map[string]string{"parent_linkage": id, "relative_path": "b.vhdx"}, place: "img/c.vhdx", fails: new(*source.MissingError), says: "b.vhdx"},
		"outside":  {parent: map[string]string{"parent_linkage": id, "relative_path": `..\b.vhdx`}, place: "b.vhdx", fails: new(*source.RefusedError), says: "--follow-backing"},
		"no paths": {parent: map[string]string{"parent_linkage": id}, place: "img/b.vhdx", fails: new(*source.CorruptError), says: "names no parent"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "img/sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			layertest.WriteFile(t, filepath.Join(dir, c.place), base.build())
			child := spec{guest: make([]byte, 64<<10), blockSize: 1 << 20, parent: c.parent, present: func(int) bool { return false }}
			path := layertest.WriteFile(t, filepath.Join(dir, "img/child.vhdx"), child.build())
			before := layertest.OpenFiles(t)
			opened, err := layertest.TryOpen(Open, path, source.Options{})
			if c.fails != nil {
				if err == nil || !errors.As(err, c.fails) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
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

// TestSectorMismatch: parent and child must agree on the sector size.
func TestSectorMismatch(t *testing.T) {
	dir := t.TempDir()
	base := spec{guest: make([]byte, 64<<10), blockSize: 1 << 20, dataWrite: guid{1}, sector: 4096}
	layertest.WriteFile(t, filepath.Join(dir, "base.vhdx"), base.build())
	child := spec{guest: make([]byte, 64<<10), blockSize: 1 << 20, parent: linkage(guid{1}, "base.vhdx"), present: func(int) bool { return false }}
	path := layertest.WriteFile(t, filepath.Join(dir, "child.vhdx"), child.build())
	if _, err := layertest.TryOpen(Open, path, source.Options{}); err == nil || !strings.Contains(err.Error(), "sectors of 512") {
		t.Errorf("open: %v", err)
	}
}
