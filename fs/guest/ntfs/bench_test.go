package ntfs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
	"holdfast/fs/guest/ntfs/wimtest"
)

// BenchmarkReader opens a volume, lists and stats 20,000 names, and reads plain
// and packed content.
func BenchmarkReader(b *testing.B) {
	image := mkntfs(b, 512<<20)
	rnd := rand.New(rand.NewPCG(1, 1))
	text := mixed(rnd, 8<<20, 30_000)
	mounted(b, image, func(dir string) {
		must(b, os.Mkdir(dir+"/many", 0o755))
		for i := range 20_000 {
			must(b, os.WriteFile(fmt.Sprintf("%s/many/file-%06d.txt", dir, i), nil, 0o644))
		}
		must(b, os.WriteFile(dir+"/large", bytes.Repeat(text, 8), 0o644))
		must(b, os.Mkdir(dir+"/packed", 0o755))
		compressed(b, dir+"/packed")
		must(b, os.WriteFile(dir+"/packed/lznt1", text, 0o644))
		writeWOF(b, dir+"/xpress", wimtest.Pack(b, [][]byte{text}, "xpress", 4096)[0], 0)
		writeWOF(b, dir+"/lzx", wimtest.Pack(b, [][]byte{text}, "lzx", 32768)[0], 1)
	}, "streams_interface=windows", "compression")
	v := guesttest.OpenFile(b, image)
	fs, err := Open(b.Context(), v)
	must(b, err)
	many := lookup(b, fs, "many")
	list := func(b *testing.B, fs *FS) (entries []guest.Entry) {
		must(b, fs.ReadDir(b.Context(), many, 0, func(e guest.Entry) bool { entries = append(entries, e); return true }))
		return entries
	}
	b.Run("open and list 20000", func(b *testing.B) {
		for b.Loop() {
			fs, err := Open(b.Context(), v)
			must(b, err)
			list(b, fs)
		}
	})
	entries := list(b, fs)
	b.Run("list 20000", func(b *testing.B) {
		for b.Loop() {
			list(b, fs)
		}
	})
	b.Run("look up and stat 20000", func(b *testing.B) {
		for b.Loop() {
			for _, e := range entries {
				n, err := fs.Lookup(b.Context(), many, e.Name)
				must(b, err)
				_, err = fs.Stat(b.Context(), n)
				must(b, err)
			}
		}
	})
	b.Run("files", func(b *testing.B) {
		for b.Loop() {
			must(b, fs.Files(b.Context(), func(guest.Node, int64, guest.Extent) bool { return true }))
		}
	})
	b.Run("free, proved", func(b *testing.B) {
		for b.Loop() {
			fs.proved.Store(false)
			must(b, fs.Free(b.Context(), func(guest.Range) bool { return true }))
		}
	})
	for _, name := range []string{"large", "packed/lznt1", "xpress", "lzx"} {
		n := lookup(b, fs, name)
		b.Run("read "+name, func(b *testing.B) {
			p := make([]byte, 128<<10)
			for b.Loop() {
				for off := int64(0); ; off += int64(len(p)) {
					m, err := fs.ReadAt(b.Context(), n, p, off)
					if b.SetBytes(off + int64(m)); err == io.EOF {
						break
					}
					must(b, err)
				}
			}
		})
	}
}
