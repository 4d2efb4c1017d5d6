package xfs

import (
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// BenchmarkReader opens a volume, and lists and stats 20,000 names in it.
func BenchmarkReader(b *testing.B) {
	image := guesttest.Mkfs(b, 320<<20, mkfs()...)
	guesttest.Mounted(b, image, func(dir string) {
		guesttest.PopulateTree(smallDevices{b}, dir, guesttest.Tree{Many: 23_334}) // each seventh is removed
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			guesttest.OpenImage(b, image, open)
		}
	})
	fs := guesttest.OpenImage(b, image, open)
	many, err := fs.Lookup(b.Context(), fs.Root(), "many")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("list and stat 20000", func(b *testing.B) {
		for b.Loop() {
			n := 0
			err := fs.ReadDir(b.Context(), many, 0, func(e guest.Entry) bool {
				_, err := fs.Stat(b.Context(), e.Node)
				n++
				return err == nil
			})
			if err != nil || n != 20_000 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("lookup", func(b *testing.B) {
		for b.Loop() {
			if _, err := fs.Lookup(b.Context(), many, "file-012345.txt"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("files", func(b *testing.B) {
		for b.Loop() {
			if err := fs.Files(b.Context(), func(guest.Node, int64, guest.Extent) bool { return true }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
