package source

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/media/odirect"
)

// TestReadsPastTheCache: however a read lies, in the cache or not, it gives what the
// file holds, up to an end that is no block's.
func TestReadsPastTheCache(t *testing.T) {
	want := make([]byte, 5<<20+1234)
	rand.NewChaCha8([32]byte{1}).Read(want)
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory := odirect.Memory(len(want) + 3*odirect.Unit)
	for _, cold := range []bool{true, false} {
		for _, from := range []int{0, 1, odirect.Unit - 1, odirect.Unit, odirect.Unit + 1, 1 << 20, len(want) &^ (odirect.Unit - 1)} {
			for _, n := range []int{1, pastLeast - 1, pastLeast, pastLeast + 1, 1<<20 + odirect.Unit, len(want)} {
				for _, shift := range []int{0, 512} {
					if cold {
						dropFile(t, path)
					}
					buf := memory[shift:][:n]
					clear(buf)
					got, err := f.ReadAt(buf, int64(from))
					if full := min(n, len(want)-from); got != full || (err != nil) != (full < n) || err != nil && !errors.Is(err, io.EOF) {
						t.Fatalf("read %d bytes from %d: %d, %v", n, from, got, err)
					}
					if !bytes.Equal(buf[:got], want[from:from+got]) {
						t.Fatalf("read %d bytes from %d: other bytes", n, from)
					}
					whole := (from|n|shift)%odirect.Unit == 0 // else the cache gets what is left, and what the kernel reads ahead of it
					if cold && whole && n >= pastLeast && from+n <= len(want) {
						pages, err := odirect.Cached(f.osf.Fd(), int64(from), int64(n))
						if err != nil || pages != 0 {
							t.Errorf("read %d bytes from %d: %d of them went through the page cache, %v", n, from, pages, err)
						}
					}
				}
			}
		}
	}
}

// TestWhatIsCachedComesFromTheCache: a range of which the page cache has half is read
// through it, one of which it has less past it.
func TestWhatIsCachedComesFromTheCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory := odirect.Memory(2 << 20)
	if n := f.past.read(f.osf, memory, 0); n != 0 {
		t.Errorf("%d bytes of what was just written came past the cache", n)
	}
	dropFile(t, path)
	if n := f.past.read(f.osf, memory, 0); n != len(memory) {
		t.Errorf("%d bytes of what is not cached came past the cache", n)
	}
	if err := unix.Fadvise(int(f.osf.Fd()), 0, 0, unix.FADV_RANDOM); err != nil { // reads nothing ahead
		t.Fatal(err)
	}
	if _, err := f.osf.ReadAt(memory[:1<<20], 0); err != nil {
		t.Fatal(err)
	}
	if n := f.past.read(f.osf, memory, 0); n != 0 {
		t.Errorf("%d bytes of what is half cached came past the cache", n)
	}
}

// TestPastTheCacheOfAShrunkFile: what was cut off is an error that says so.
func TestPastTheCacheOfAShrunkFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 1<<20+100); err != nil {
		t.Fatal(err)
	}
	dropFile(t, path)
	var corrupt *CorruptError
	if err := f.ReadFull(odirect.Memory(2<<20), 0, "data"); !errors.As(err, &corrupt) || corrupt.Off != 1<<20+100 {
		t.Errorf("%v", err)
	}
}

// dropFile leaves nothing of a file in the page cache where the kernel lets it.
func dropFile(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		t.Fatal(err)
	}
}
