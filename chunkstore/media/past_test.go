package media

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/media/odirect"
)

// TestPastCache reads files on the disk and in memory as a scrub does, in whole
// pages and not, at every edge of a page and of the file.
func TestPastCache(t *testing.T) {
	for name, d := range map[string]*Dir{"disk": dirOn(t, vfs.Default, t.TempDir()), "memory": dirOn(t, vfs.NewMem(), "/packs")} {
		for _, size := range []int{1, directAlign - 1, directAlign, directAlign + 1, 70_001} {
			want := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(size), 1}).Read(want)
			f := stored(t, d, size, want)
			r := PastCache(f)
			for _, off := range []int{0, 1, directAlign, 2 * directAlign, size - 1, size, size + directAlign} {
				for _, n := range []int{1, directAlign - 1, directAlign, 3 * directAlign, 100_000 &^ (directAlign - 1)} {
					buf := AloneBuffer(n)[:n]
					got, err := r.ReadAt(buf, int64(off))
					from := min(off, size)
					if !bytes.Equal(buf[:got], want[from:min(from+n, size)]) {
						t.Fatalf("%s, %d bytes: [%d, %d): %d bytes, %v", name, size, off, off+n, got, err)
					}
					if err != nil && !errors.Is(err, io.EOF) || err == nil && got < n {
						t.Fatalf("%s, %d bytes: [%d, %d): %d bytes, %v", name, size, off, off+n, got, err)
					}
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPastCacheLeavesTheCache: whole pages that a scrub reads leave nothing in the
// page cache, where the filesystem allows that, and come from below it: bytes that
// were just written are among them. Where it refuses, all comes as ever.
func TestPastCacheLeavesTheCache(t *testing.T) {
	want := bytes.Repeat([]byte("holdfast"), 8192)
	f := stored(t, dirOn(t, vfs.Default, t.TempDir()), 8, want).(*file)
	defer f.Close()
	if f.direct.open(f.File) < 0 {
		t.Log("no O_DIRECT here: it is read as everything else")
		return
	}
	if _, err := f.ReadAt(make([]byte, len(want)), 0); err != nil {
		t.Fatal(err)
	}
	full, err := odirect.Cached(f.Fd(), 0, f.size)
	dropPages(t, f)
	left, _ := odirect.Cached(f.Fd(), 0, f.size)
	buf := AloneBuffer(len(want))[:len(want)]
	if _, rerr := PastCache(f).ReadAt(buf, 0); rerr != nil || !bytes.Equal(buf, want) {
		t.Fatalf("%v, %v", rerr, bytes.Equal(buf, want))
	}
	if err != nil || full == 0 || left != 0 {
		t.Log("this kernel does not say what the page cache has, or the filesystem keeps its pages elsewhere")
	} else if n, _ := odirect.Cached(f.Fd(), 0, f.size); n != 0 {
		t.Errorf("%d pages in the cache", n)
	}
	f.direct.never.Store(true)
	clear(buf)
	if _, err := PastCache(f).ReadAt(buf, 0); err != nil || !bytes.Equal(buf, want) {
		t.Errorf("where O_DIRECT was refused: %v", err)
	}
}
