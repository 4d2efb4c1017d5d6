package qcow2_test

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/capture/source"
	"holdfast/capture/source/sourcetest"
)

// BenchmarkRead reads a disk of 64 MiB in pieces of 4 MiB, as a capture does,
// from the page cache.
func BenchmarkRead(b *testing.B) {
	const size = 64 << 20
	dir := b.TempDir()
	raw := sourcetest.WriteFile(b, dir, "raw", sourcetest.Guest(size, 1))
	for _, c := range []struct{ name, options, flag string }{
		{"raw", "", ""},
		{"64k", "cluster_size=64k", ""},
		{"512", "cluster_size=512", ""},
		{"extended", "extended_l2=on", ""},
		{"zlib", "cluster_size=64k", "-c"},
		{"zstd", "compression_type=zstd", "-c"},
	} {
		path := raw
		if c.options != "" {
			path = filepath.Join(dir, "x.qcow2")
			args := []string{"convert", "-t", "unsafe", "-O", "qcow2", "-f", "raw", "-o", c.options, raw, path}
			if c.flag != "" {
				args = append(args, c.flag)
			}
			sourcetest.Qemu(b, "qemu-img", args...)
		}
		b.Run(c.name, func(b *testing.B) {
			d := open(b, path, source.Options{})
			p := make([]byte, 4<<20)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				for off := int64(0); off < size; off += int64(len(p)) {
					if _, err := d.ReadAt(p, off); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		if path != raw {
			os.Remove(path)
		}
	}
}
