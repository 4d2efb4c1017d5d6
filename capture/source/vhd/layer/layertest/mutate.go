package layertest

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"holdfast/capture/source"
)

// Exercise opens hostile bytes and reads what they give: it must end soon,
// without a panic, in bounded memory, and extents must keep their promise.
func Exercise(t testing.TB, open source.Opener, path string) error {
	t.Helper()
	start := time.Now()
	opened, err := TryOpen(open, path, source.Options{})
	if err == nil {
		err = walk(t, opened)
		opened.Close()
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Fatalf("%s took %v", path, d)
	}
	return err
}

// walk reads the first and last bytes and follows a bounded number of extents.
func walk(t testing.TB, d source.Disk) error {
	t.Helper()
	var failed error
	buf := make([]byte, 64<<10)
	for _, off := range []int64{0, d.Size() / 2, max(0, d.Size()-int64(len(buf)))} {
		if n, err := d.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
			failed = err
		} else if want := min(int64(len(buf)), d.Size()-off); int64(n) != want {
			t.Fatalf("read at %d of %d: %d bytes without an error, want %d", off, d.Size(), n, want)
		}
	}
	for off, i := int64(0), 0; off < d.Size() && i < 64; i++ {
		e, err := d.Extent(off)
		if err != nil {
			return err
		}
		if e.Length < 1 || e.Length > d.Size()-off {
			t.Fatalf("extent at %d of %d: %+v", off, d.Size(), e)
		}
		if e.Data {
			if _, err := d.ReadAt(buf[:min(e.Length, int64(len(buf)))], off); err != nil && !errors.Is(err, io.EOF) {
				failed = err
			}
		}
		off += e.Length
	}
	return failed
}

// Mutate changes an image at random n times, mostly within its hot parts, and
// exercises each. fix mends checksums, so that damage gets behind them; it may
// be nil. It returns how many of the images were refused.
func Mutate(t *testing.T, open source.Opener, image []byte, hot [][2]int, fix func([]byte), n int, seed uint64) (refused int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mutated")
	r := rand.New(rand.NewPCG(seed, 11))
	for i := range n {
		b := append([]byte(nil), image...)
		for range 1 + r.IntN(4) {
			h := hot[r.IntN(len(hot))]
			at := h[0] + r.IntN(h[1]-h[0])
			switch r.IntN(3) {
			case 0:
				b[at] ^= 1 << r.IntN(8)
			case 1:
				b[at] = byte(r.IntN(256))
			default:
				for j := at; j < min(at+8, h[1]); j++ {
					b[j] = byte(0xff * r.IntN(2))
				}
			}
		}
		if fix != nil && i%2 == 0 {
			fix(b)
		}
		Rewrite(t, path, b)
		if Exercise(t, open, path) != nil {
			refused++
		}
	}
	checkMemory(t)
	return refused
}

// checkMemory fails when the heap has grown beyond what bounded tables need.
func checkMemory(t *testing.T) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 256<<20 {
		t.Errorf("%d MiB are still held", m.HeapAlloc>>20)
	}
}

// OpenFiles counts the descriptors of this process.
func OpenFiles(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
