package vmdk_test

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/capture/source/sourcetest"
)

func openForced(path string) (*source.Opened, error) {
	return image.Open(path, source.Options{Format: "vmdk"})
}

// sample is a small image of a subformat, and the guest.
func sample(t testing.TB, sub string) (path string, guest []byte) {
	t.Helper()
	dir := t.TempDir()
	guest = make([]byte, 200<<10)
	copy(guest, sourcetest.Guest(20<<10, 1))
	copy(guest[130<<10:], sourcetest.Guest(3<<10, 2))
	raw := sourcetest.WriteFile(t, dir, "raw", guest)
	path = filepath.Join(dir, "x.vmdk")
	sourcetest.Qemu(t, "qemu-img", "convert", "-t", "unsafe", "-f", "raw", "-O", "vmdk", "-o", "subformat="+sub, raw, path)
	return path, guest
}

// TestTruncated cuts the image itself, and the extents beside it.
func TestTruncated(t *testing.T) {
	for _, c := range []struct {
		sub, file string
		step      int64
	}{
		{"monolithicSparse", "x.vmdk", 97},
		{"streamOptimized", "x.vmdk", 41},
		{"monolithicFlat", "x.vmdk", 1},
		{"monolithicFlat", "x-flat.vmdk", 97},
		{"twoGbMaxExtentSparse", "x.vmdk", 1},
		{"twoGbMaxExtentSparse", "x-s001.vmdk", 97},
	} {
		t.Run(c.sub+" "+c.file, func(t *testing.T) {
			path, guest := sample(t, c.sub)
			cut := filepath.Join(filepath.Dir(path), c.file)
			if c.file == "x.vmdk" && c.step == 1 {
				cutDescriptor(t, cut)
				return
			}
			sourcetest.CheckTruncated(t, cut, c.step, guest, func() (*source.Opened, error) { return openForced(path) })
		})
	}
}

// cutDescriptor cuts a text at every byte: it may lose its last lines, which
// nobody can notice, so only a panic or a broken extent is wrong.
func cutDescriptor(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := info.Size() - 1; size >= 0; size-- {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		sourcetest.Walk(t, func() (*source.Opened, error) { return openForced(path) })
	}
}

func TestMutated(t *testing.T) {
	for _, sub := range []string{"monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentSparse"} {
		path, _ := sample(t, sub)
		sourcetest.CheckMutated(t, path, sourcetest.Rounds(t, 300), func() (*source.Opened, error) { return openForced(path) })
	}
}

func FuzzOpen(f *testing.F) {
	for _, sub := range []string{"monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentSparse"} {
		path, _ := sample(f, sub)
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(descriptorHead + "RW 8 ZERO\nRW 4 SPARSE \"x\"\n"))
	sourcetest.Fuzz(f, openForced)
}
