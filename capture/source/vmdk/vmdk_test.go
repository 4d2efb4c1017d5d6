package vmdk_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/capture/source/sourcetest"
)

func open(t testing.TB, path string, opts source.Options) *source.Opened {
	t.Helper()
	d, err := image.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

var subformats = []string{"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"}

// TestConverted reads all that qemu-img convert makes of the same guests.
func TestConverted(t *testing.T) {
	for i, size := range []int64{512, 64 << 10, 3<<20 + 512, 33<<20 - 512} {
		guest := make([]byte, size)
		copy(guest, sourcetest.Guest(min(size, 9<<20), uint64(i)))
		copy(guest[size/2:], sourcetest.Guest(size-size/2, uint64(i))[:min(size-size/2, 100<<10)])
		guest[size-1] = 9
		raw := sourcetest.WriteFile(t, t.TempDir(), "guest.raw", guest)
		for _, sub := range subformats {
			for _, more := range []string{"", ",zeroed_grain=on", ",compat6=on"} {
				if (more != "" || size > 32<<20 && sub != "streamOptimized") && sub != "monolithicSparse" {
					continue
				}
				t.Run(fmt.Sprintf("%s%s-%d", sub, more, size), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "x.img")
					sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-f", "raw", "-O", "vmdk", "-o", "subformat="+sub+more, raw, path)
					d := open(t, path, source.Options{})
					if d.Format != "vmdk" || d.Files[0] != path || len(d.Notices) != 0 {
						t.Errorf("opened %+v", d)
					}
					sourcetest.CheckBytes(t, d, guest)
				})
			}
		}
	}
}

// TestManyExtents reads disks that are split in files of 2 GiB, with data
// across the splits.
func TestManyExtents(t *testing.T) {
	sourcetest.CheckClosed(t)
	for _, sub := range subformats {
		t.Run(sub, func(t *testing.T) {
			dir := t.TempDir()
			path, raw := filepath.Join(dir, "x.vmdk"), filepath.Join(dir, "judge.raw")
			sourcetest.Qemu(t, "qemu-img", "create", "-f", "raw", raw, fmt.Sprint(5<<30+512))
			writes := []string{"-f", "raw", "-c", "write -P 1 0 4k", "-c", "write -P 2 2147418624 256k", "-c", "write -P 3 4294966784 1k", "-c", "write -P 4 5368709120 512", raw}
			sourcetest.Qemu(t, "qemu-io", writes...)
			sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-f", "raw", "-O", "vmdk", "-o", "subformat="+sub, raw, path)
			d := open(t, path, source.Options{})
			if n := map[string]int{"twoGbMaxExtentSparse": 4, "twoGbMaxExtentFlat": 4, "monolithicFlat": 2}[sub]; n != 0 && len(d.Files) != n {
				t.Errorf("files %q, want %d", d.Files, n)
			}
			sourcetest.CheckSame(t, d, open(t, raw, source.Options{Format: "raw"}))
		})
	}
}

// TestParent reads a child with grains marked as zeros over its parent.
func TestParent(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	base, child, raw := filepath.Join(dir, "base.vmdk"), filepath.Join(dir, "child.vmdk"), filepath.Join(dir, "judge.raw")
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "vmdk", base, "1M")
	sourcetest.Qemu(t, "qemu-io", "-t", "unsafe", "-c", "write -P 1 0 700k", base)
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "vmdk", "-o", "zeroed_grain=on", "-F", "vmdk", "-b", base, child)
	sourcetest.Qemu(t, "qemu-io", "-t", "unsafe", "-c", "write -P 2 100k 10k", "-c", "write -z 256k 128k", "-c", "write -P 3 650k 100k", child)
	sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-O", "raw", child, raw)
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, child, source.Options{})
	if len(d.Files) != 2 || d.Files[1] != base {
		t.Errorf("files %q", d.Files)
	}
	sourcetest.CheckBytes(t, d, want)

	text, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), "\nCID=") + 5
	copy(text[at:], "00000001\n")
	sourcetest.WriteFile(t, dir, "base.vmdk", text)
	wantError(t, child, source.Options{}, "CID 00000001")
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	wantError(t, child, source.Options{}, "base.vmdk", "missing")
}

func wantError(t testing.TB, path string, opts source.Options, words ...string) {
	t.Helper()
	d, err := image.Open(path, opts)
	if err == nil {
		d.Close()
		t.Fatalf("%s opened, want an error with %q", path, words)
	}
	for _, w := range append(words, filepath.Base(path)) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
}

// TestPart opens one file of a split disk, with a warning.
func TestPart(t *testing.T) {
	dir := t.TempDir()
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", filepath.Join(dir, "x.vmdk"), "3G")
	d := open(t, filepath.Join(dir, "x-s002.vmdk"), source.Options{})
	if len(d.Notices) != 1 || !strings.Contains(d.Notices[0], "one part of a larger disk") {
		t.Errorf("notices %q", d.Notices)
	}
}

const descriptorHead = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\n"

func TestDescriptors(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	sourcetest.WriteFile(t, dir, "flat one", []byte(strings.Repeat("x", 4096)))
	for text, word := range map[string]string{
		"":                                     "no extents",
		"RW 8 FLAT \"/etc/shadow\" 0":          "--follow-backing",
		"RW 8 FLAT \"../../../etc/shadow\" 0":  "--follow-backing",
		"RW 8 FLAT \"absent\" 0":               "missing",
		"RW 9 FLAT \"flat one\" 0":             "truncated",
		"RW 8 FLAT \"flat one\" 1":             "truncated",
		"RW 99999999999999999999 FLAT \"f\" 0": "number of sectors",
		"RW -1 FLAT \"f\" 0":                   "number of sectors",
		"RW 8 FLAT \"f\" -1":                   "first sector",
		"RW 8 FLAT \"f":                        "does not end",
		"RW 8 FLAT":                            "no file name",
		"RW 8":                                 "not an extent",
		"RW 8 SPARSE \"flat one\"":             "magic",
		"RW 8 SESPARSE \"flat one\"":           "SESPARSE",
		"RW 8 VMFSSPARSE \"flat one\"":         "VMFSSPARSE",
		"NOACCESS 8 FLAT \"flat one\" 0":       "must not be accessed",
		"parentCID=zz":                         "parentCID=zz",
		"parentCID=12\nRW 8 ZERO":              "does not name it",
		"encryption.keySafe = \"x\"":           "encryption",
		"RW 18014398509481983 ZERO\nRW 1 ZERO": "larger than any disk",
	} {
		path := sourcetest.WriteFile(t, dir, "x.vmdk", []byte(descriptorHead+text+"\n"))
		wantError(t, path, source.Options{}, word)
	}
	text := "RW 1 FLAT \"flat one\" 7\nRW 2 ZERO\nRDONLY 3 FLAT \"flat one\"\nRW 0 FLAT \"absent\" 0\n"
	d := open(t, sourcetest.WriteFile(t, dir, "x.vmdk", []byte(descriptorHead+text)), source.Options{})
	x, z := strings.Repeat("x", 512), strings.Repeat("\x00", 512)
	sourcetest.CheckBytes(t, d, []byte(x+z+z+x+x+x))
}

func TestSparseHeaders(t *testing.T) {
	sourcetest.CheckClosed(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "x.vmdk")
	sourcetest.Qemu(t, "qemu-img", "create", "-f", "vmdk", path, "1M")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le64 := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	for _, c := range []struct {
		at    int
		bytes []byte
		word  string
	}{
		{0, []byte("COWD"), "COWD"},
		{4, []byte{9}, "version 9"},
		{12, le64(1 << 60), "capacity"},
		{12, le64(1 << 50), "directory entries"},
		{20, le64(0), "grain size"},
		{20, le64(1 << 40), "grain size"},
		{36, le64(1 << 30), "descriptor"},
		{44, []byte{0, 0, 0, 0}, "grain tables of 0"},
		{44, []byte{0, 0, 1, 0}, "grain tables of 65536"},
		{56, le64(1 << 40), "truncated"},
		{56, le64(1<<64 - 1), "footer"},
		{10, []byte{1}, "VMDK compression 0"},
		{512, []byte("nothing"), "no VMDK descriptor"},
	} {
		mutant := append([]byte(nil), whole...)
		copy(mutant[c.at:], c.bytes)
		wantError(t, sourcetest.WriteFile(t, dir, "x.vmdk", mutant), source.Options{}, c.word)
	}
}
