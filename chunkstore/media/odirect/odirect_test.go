package odirect

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReads reads a file into memory of each size past the page cache, and leaves
// nothing in that.
func TestReads(t *testing.T) {
	want := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{1}).Read(want)
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	full, err := Cached(f.Fd(), 0, int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		t.Fatal(err)
	}
	left, _ := Cached(f.Fd(), 0, int64(len(want)))
	past, err := Open(f.Fd())
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	for _, n := range []int{Unit, HugePage - Unit, HugePage, HugePage + Unit, len(want)} {
		b := Memory(n)
		if len(b) != n || cap(b) != n || !Fits(b, 0) || Fits(b, 1) || Fits(b[1:], 0) || Fits(b[:n-1], 0) {
			t.Errorf("memory of %d bytes has %d and %d", n, len(b), cap(b))
		}
		if _, err := past.ReadAt(b, int64(len(want)-n)); err != nil || !bytes.Equal(b, want[len(want)-n:]) {
			t.Errorf("the last %d bytes: %v", n, err)
		}
	}
	if full == 0 || left == full {
		t.Log("this filesystem keeps its pages elsewhere (overlay), or for good (tmpfs)")
		return
	}
	if full != int64(len(want)) {
		t.Errorf("%d bytes cached of a file that was just written", full)
	}
	if n, err := Cached(f.Fd(), 0, int64(len(want))); err != nil || n > left {
		t.Errorf("%d bytes cached of what was read past the cache, %v", n, err)
	}
}
