package vhdx

import (
	"fmt"
	"path/filepath"
	"testing"

	"holdfast/capture/source/vhd/layer/layertest"
)

// TestQemuImages reads what qemu writes, in all its block sizes.
func TestQemuImages(t *testing.T) {
	for i, c := range []struct {
		options string
		size    int64
	}{
		{"subformat=dynamic", 512},
		{"subformat=dynamic,block_size=1M", 1<<20 + 512},
		{"subformat=dynamic,block_size=1M", 37<<20 - 512},
		{"subformat=dynamic,block_size=2M,block_state_zero=off", 37<<20 + 1024},
		{"subformat=dynamic,block_size=32M", 50 << 20},
		{"subformat=dynamic,block_size=256M", 20<<20 + 512},
		{"subformat=dynamic,log_size=3M", 3 << 20},
		{"subformat=fixed,block_size=1M", 9<<20 + 512},
		{"subformat=fixed,block_size=8M", 20 << 20},
	} {
		t.Run(fmt.Sprintf("%s-%d", c.options, c.size), func(t *testing.T) {
			dir := t.TempDir()
			want := layertest.Guest(uint64(i), c.size, 512)
			raw := layertest.WriteFile(t, filepath.Join(dir, "raw"), want)
			path := filepath.Join(dir, "disk.vhdx")
			layertest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", c.options, raw, path)
			opened := layertest.Open(t, Open, path)
			layertest.Check(t, opened, want, uint64(i))
			layertest.Check(t, opened, layertest.QemuRaw(t, "vhdx", path), uint64(i))
			if len(opened.Notices) != 0 {
				t.Errorf("notices: %q", opened.Notices)
			}
		})
	}
}

// TestHuge opens the largest disk that the format allows: it costs neither
// memory nor time, and the BAT is read where it is needed only.
func TestHuge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.vhdx")
	layertest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=16M", path, "64T")
	layertest.Run(t, "qemu-io", "-f", "vhdx", "-c", "write -P 9 40T 64k", "-c", "write -P 8 70368744112128 65536", path)
	opened := layertest.Open(t, Open, path)
	if opened.Size() != 64<<40 {
		t.Fatalf("size %d", opened.Size())
	}
	var p [1]byte
	for off, want := range map[int64]byte{0: 0, 40<<40 - 1: 0, 40 << 40: 9, 40<<40 + 65535: 9, 40<<40 + 65536: 0, 64<<40 - 65536: 8, 64<<40 - 1: 8} {
		if _, err := opened.ReadAt(p[:], off); err != nil || p[0] != want {
			t.Errorf("byte at %d: %d, %v", off, p[0], err)
		}
	}
	allocs := testing.AllocsPerRun(1, func() {
		if e, err := opened.Extent(20<<40 + 1); err != nil || e.Data || e.Length < 1<<30 {
			t.Errorf("extent: %+v, %v", e, err)
		}
	})
	if allocs > 100 {
		t.Errorf("an extent costs %v allocations", allocs)
	}
}

// TestSparse proves that holes are known without reading, in blocks that are
// not there and in the holes of a sparse file.
func TestSparse(t *testing.T) {
	for _, subformat := range []string{"fixed", "dynamic"} {
		path := filepath.Join(t.TempDir(), "disk.vhdx")
		layertest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", "-o", "subformat="+subformat, path, "512M")
		layertest.Run(t, "qemu-io", "-f", "vhdx", "-c", "write -P 7 300M 64k", path)
		opened := layertest.Open(t, Open, path)
		if data := layertest.DataBytes(t, opened); data < 64<<10 || data > 32<<20 {
			t.Errorf("%s: %d bytes of data, want 64 KiB to one block", subformat, data)
		}
	}
}
