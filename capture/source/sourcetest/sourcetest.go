// Package sourcetest holds what the tests of all sources share: a conformance
// check of source.Disk against a byte oracle, guests to fill images with, and
// walks over damaged images.
package sourcetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"holdfast/capture/source"
)

// Qemu runs qemu-img or qemu-io and gives its output; a missing tool fails.
func Qemu(t testing.TB, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// Rounds is the number of rounds of a random campaign: few in CI, as many as
// HOLDFAST_CAMPAIGN says in a long run.
func Rounds(t testing.TB, few int) int {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_CAMPAIGN"))
	if err != nil {
		return few
	}
	t.Logf("%d rounds", n)
	return n
}

// Guest is a disk of size bytes with runs of random bytes, of text that
// compresses, and of zeros, at odd places, the same for the same seed.
func Guest(size int64, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	guest := make([]byte, size)
	for off := int64(0); off < size; {
		n := min(1+rnd.Int64N(1<<uint(4+rnd.IntN(16))), size-off)
		run := guest[off : off+n]
		switch rnd.IntN(4) {
		case 0:
			for i := range run {
				run[i] = byte(rnd.Uint32())
			}
		case 1:
			line := fmt.Sprintf("line %d of the guest\n", rnd.IntN(1000))
			for i := range run {
				run[i] = line[i%len(line)]
			}
		}
		off += n
	}
	if size > 0 {
		guest[0], guest[size-1] = 0xeb, 0xa5 // edges count
	}
	return guest
}

// WriteFile writes a file under dir and returns its path.
func WriteFile(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// CheckBytes checks d against all its bytes.
func CheckBytes(t testing.TB, d source.Disk, want []byte) {
	t.Helper()
	if d.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", d.Size(), len(want))
	}
	checkWhole(t, d, want)
	checkRandom(t, d, want)
	checkExtents(t, d, want)
	checkEnds(t, d)
}

// checkWhole reads all, in one piece and by four readers at once.
func checkWhole(t testing.TB, d source.Disk, want []byte) {
	t.Helper()
	whole := bytes.Repeat([]byte{0xcc}, len(want)) // zeros must be written, not found
	if n, err := d.ReadAt(whole, 0); n != len(want) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read of all: %d bytes of %d, %v", n, len(want), err)
	}
	if i := differs(whole, want); i >= 0 {
		t.Fatalf("byte %d is %#x, want %#x", i, whole[i], want[i])
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			p := make([]byte, 64<<10)
			for off := w * len(p); off < len(want); off += 4 * len(p) {
				n, err := d.ReadAt(p, int64(off))
				if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(p[:n], want[off:min(off+len(p), len(want))]) {
					t.Errorf("concurrent read at %d: %d bytes, %v, or wrong bytes", off, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func checkRandom(t testing.TB, d source.Disk, want []byte) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(len(want)), 2))
	for range 200 {
		off := rnd.Int64N(int64(len(want)))
		p := bytes.Repeat([]byte{0xcc}, int(1+rnd.Int64N(1<<uint(rnd.IntN(19)))))
		n, err := d.ReadAt(p, off)
		end := min(off+int64(len(p)), int64(len(want)))
		if int64(n) != end-off || (n < len(p)) != errors.Is(err, io.EOF) && n < len(p) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("read of %d bytes at %d: %d, %v", len(p), off, n, err)
		}
		if i := differs(p[:n], want[off:end]); i >= 0 {
			t.Fatalf("read of %d bytes at %d: byte %d is %#x, want %#x", len(p), off, off+int64(i), p[i], want[off+int64(i)])
		}
	}
}

// checkExtents walks the extents, and asks for some from the middle of a run. A file's blocks
// that are allocated and were never written are data to the kernel as long as they are
// cached, and may be taken back between two questions: a few tries are free.
func checkExtents(t testing.TB, d source.Disk, want []byte) {
	t.Helper()
	var differ string
	for range 5 {
		if differ = compareExtents(t, d, want); differ == "" {
			return
		}
	}
	t.Fatal(differ)
}

// compareExtents returns where an extent from the middle of a run is not as the walk told.
func compareExtents(t testing.TB, d source.Disk, want []byte) (differ string) {
	t.Helper()
	data := make([]bool, len(want))
	ask := func(off int64) source.Extent {
		ext := Extent(t, d, off)
		if !ext.Data && len(bytes.Trim(want[off:off+ext.Length], "\x00")) > 0 {
			t.Fatalf("the hole of %d bytes at %d is not zeros", ext.Length, off)
		}
		return ext
	}
	for off := int64(0); off < d.Size(); {
		ext := ask(off)
		for i := range ext.Length {
			data[off+i] = ext.Data
		}
		off += ext.Length
	}
	rnd := rand.New(rand.NewPCG(uint64(len(want)), 3))
	for range 100 {
		off := rnd.Int64N(d.Size())
		ext := ask(off)
		for i := off; i < off+ext.Length; i++ {
			if data[i] != ext.Data {
				return fmt.Sprintf("extent at %d: %+v, but byte %d was data=%t in the walk", off, ext, i, data[i])
			}
		}
	}
	return ""
}

// Extent asks for an extent and checks its length.
func Extent(t testing.TB, d source.Disk, off int64) source.Extent {
	t.Helper()
	ext, err := d.Extent(off)
	if err != nil {
		t.Fatalf("extent at %d: %v", off, err)
	}
	if ext.Length < 1 || ext.Length > d.Size()-off {
		t.Fatalf("extent at %d of %d bytes: length %d", off, d.Size(), ext.Length)
	}
	return ext
}

// checkEnds asks for what lies outside of the disk.
func checkEnds(t testing.TB, d source.Disk) {
	t.Helper()
	p := make([]byte, 2)
	for off, wantN := range map[int64]int{d.Size() - 1: 1, d.Size(): 0, d.Size() + 1: 0} {
		if n, err := d.ReadAt(p, off); n != wantN || !errors.Is(err, io.EOF) {
			t.Errorf("read at %d of %d: %d, %v; want %d, EOF", off, d.Size(), n, err, wantN)
		}
	}
	if _, err := d.ReadAt(p, -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read at -1: %v", err)
	}
	for _, off := range []int64{-1, d.Size(), d.Size() + 1} {
		if ext, err := d.Extent(off); err == nil {
			t.Errorf("extent at %d: %+v, want an error", off, ext)
		}
	}
}

// differs gives the first place where a and b differ, or -1.
func differs(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// CheckClosed fails the test at its very end if it left files open. It must
// be called first, and not in a parallel test.
func CheckClosed(t testing.TB) {
	t.Helper()
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	count() // the runtime's own poller comes with the first file
	before := count()
	t.Cleanup(func() {
		if after := count(); after != before {
			t.Errorf("%d open files, %d before the test", after, before)
		}
	})
}
