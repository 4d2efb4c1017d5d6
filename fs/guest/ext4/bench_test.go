package ext4

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// benchImage has 20,000 small files in one directory and a large one.
func benchImage(b *testing.B) string {
	image := guesttest.Mkfs(b, 512<<20, "mkfs.ext4", "-q", "-F", "-N", "40000")
	guesttest.Mounted(b, image, func(dir string) {
		if err := os.Mkdir(filepath.Join(dir, "many"), 0o755); err != nil {
			b.Fatal(err)
		}
		for i := range 20000 {
			if err := os.WriteFile(filepath.Join(dir, "many", fmt.Sprintf("file-%06d.txt", i)), make([]byte, 4096), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, 128<<20), 0o644); err != nil {
			b.Fatal(err)
		}
	})
	return image
}

func BenchmarkReader(b *testing.B) {
	image := benchImage(b)
	ctx := context.Background()
	v := guesttest.OpenFile(b, image)
	fs, err := Open(ctx, v)
	if err != nil {
		b.Fatal(err)
	}
	many, err := fs.Lookup(ctx, rootInode, "many")
	if err != nil {
		b.Fatal(err)
	}
	large, err := fs.Lookup(ctx, rootInode, "large")
	if err != nil {
		b.Fatal(err)
	}
	var entries []guest.Entry
	b.Run("open and list 20000", func(b *testing.B) {
		for b.Loop() {
			fs, err := Open(ctx, v)
			if err != nil {
				b.Fatal(err)
			}
			entries = entries[:0]
			if err := fs.ReadDir(ctx, many, 0, func(e guest.Entry) bool { entries = append(entries, e); return true }); err != nil || len(entries) != 20000 {
				b.Fatal(err)
			}
		}
	})
	b.Run("stat 20000", func(b *testing.B) {
		for b.Loop() {
			for _, e := range entries {
				if _, err := fs.Stat(ctx, e.Node); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("lookup 20000", func(b *testing.B) {
		for b.Loop() {
			for _, e := range entries {
				if _, err := fs.Lookup(ctx, many, e.Name); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("read 20000", func(b *testing.B) {
		p := make([]byte, 8192)
		for b.Loop() {
			for _, e := range entries {
				if _, err := fs.ReadAt(ctx, e.Node, p, 0); err != io.EOF {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("large", func(b *testing.B) {
		p := make([]byte, 128<<10)
		b.SetBytes(128 << 20)
		for b.Loop() {
			for off := int64(0); off < 128<<20; off += int64(len(p)) {
				if _, err := fs.ReadAt(ctx, large, p, off); err != nil && err != io.EOF {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("files", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := fs.Files(ctx, func(guest.Node, int64, guest.Extent) bool { n++; return true }); err != nil || n < 20001 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("free", func(b *testing.B) {
		for b.Loop() {
			if err := fs.Free(ctx, func(guest.Range) bool { return true }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
