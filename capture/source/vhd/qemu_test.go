package vhd

import (
	"fmt"
	"path/filepath"
	"testing"

	"holdfast/capture/source/vhd/layer/layertest"
)

// TestQemuImages reads what qemu writes. force_size makes qemu store the exact
// size and read it back from the footer, as Hyper-V does; without it qemu
// rounds the size up to a geometry.
func TestQemuImages(t *testing.T) {
	for _, subformat := range []string{"fixed", "dynamic"} {
		for i, size := range []int64{512, 2<<20 - 512, 2 << 20, 2<<20 + 512, 37<<20 + 1536} {
			t.Run(fmt.Sprintf("%s-%d", subformat, size), func(t *testing.T) {
				dir := t.TempDir()
				want := layertest.Guest(uint64(i), size, 512)
				raw := layertest.WriteFile(t, filepath.Join(dir, "raw"), want)
				path := filepath.Join(dir, "disk.vhd")
				layertest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat="+subformat+",force_size=on", raw, path)
				opened := layertest.Open(t, Open, path)
				layertest.Check(t, opened, want, uint64(i))
				layertest.Check(t, opened, layertest.QemuRaw(t, "vpc", path), uint64(i))
			})
		}
	}
}

// TestQemuGeometry reads an image whose size qemu rounded up to a geometry:
// both readers agree as far as the data go.
func TestQemuGeometry(t *testing.T) {
	dir := t.TempDir()
	want := layertest.Guest(3, 5<<20, 512)
	raw := layertest.WriteFile(t, filepath.Join(dir, "raw"), want)
	path := filepath.Join(dir, "disk.vhd")
	layertest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", raw, path)
	judge := layertest.QemuRaw(t, "vpc", path)
	opened := layertest.Open(t, Open, path)
	layertest.Check(t, opened, append(want, make([]byte, opened.Size()-int64(len(want)))...), 3)
	if int64(len(judge)) < opened.Size() {
		t.Errorf("qemu sees %d bytes, this reader %d", len(judge), opened.Size())
	}
}

// TestSparse proves that holes are known without reading: in unallocated
// blocks and in the holes of a sparse file.
func TestSparse(t *testing.T) {
	for _, subformat := range []string{"fixed", "dynamic"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "disk.vhd")
		layertest.Run(t, "qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat="+subformat+",force_size=on", path, "512M")
		layertest.Run(t, "qemu-io", "-f", "vpc", "-c", "write -P 7 300M 64k", path)
		opened := layertest.Open(t, Open, path)
		if data := layertest.DataBytes(t, opened); data < 64<<10 || data > 2<<20 {
			t.Errorf("%s: %d bytes of data, want 64 KiB to one block", subformat, data)
		}
		if e, err := opened.Extent(4<<20 + 1); err != nil || e.Data || e.Length < 295<<20-1 {
			t.Errorf("%s: extent at 4 MiB: %+v, %v", subformat, e, err)
		}
	}
}
