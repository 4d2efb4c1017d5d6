// Package layertest judges a disk against the bytes that it must have, and
// asks the tools that know VHD and VHDX for those bytes.
package layertest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/capture/source"
)

// Open opens an image by its path and closes it after the test.
func Open(t testing.TB, open source.Opener, path string) *source.Opened {
	t.Helper()
	opened, err := TryOpen(open, path, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("close %s: %v", path, err)
		}
	})
	return opened
}

// TryOpen opens an image by its path and leaves no file open when it fails.
func TryOpen(open source.Opener, path string, opts source.Options) (*source.Opened, error) {
	f, err := source.OpenFile(path, opts)
	if err != nil {
		return nil, err
	}
	opened, err := open(f, opts)
	if err != nil {
		f.Close()
	}
	return opened, err
}

// Check compares a disk with the bytes that it must have: whole, in unaligned
// random ranges from several goroutines, at its edges, and by its extents.
func Check(t testing.TB, d source.Disk, want []byte, seed uint64) {
	t.Helper()
	if d.Size() != int64(len(want)) {
		t.Fatalf("the disk has %d bytes, want %d", d.Size(), len(want))
	}
	compare(t, d, want, 0, len(want))
	checkEnd(t, d, want)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, g))
			for range 100 {
				off := r.Int64N(d.Size())
				n := 1 + r.Int64N(min(d.Size()-off, 1<<uint(1+r.IntN(22))))
				compare(t, d, want, off, int(n))
				checkExtent(t, d, want, off)
			}
		})
	}
	wg.Wait()
	for off := int64(0); off < d.Size(); {
		off += checkExtent(t, d, want, off)
	}
}

// compare reads one range.
func compare(t testing.TB, d source.Disk, want []byte, off int64, n int) {
	t.Helper()
	p := bytes.Repeat([]byte{0xa5}, n)
	if t.Failed() {
		return // one difference tells enough
	}
	if got, err := d.ReadAt(p, off); got != n || err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes at %d: %d, %v", n, off, got, err)
		return
	}
	if i := firstDifference(p, want[off:off+int64(n)]); i >= 0 {
		t.Errorf("read %d bytes at %d: byte %d is %#x, want %#x", n, off, off+int64(i), p[i], want[off+int64(i)])
	}
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// checkEnd reads around the end of the disk.
func checkEnd(t testing.TB, d source.Disk, want []byte) {
	t.Helper()
	var p [3]byte
	size := d.Size()
	if n, err := d.ReadAt(p[:], size-1); n != 1 || err != io.EOF || p[0] != want[size-1] {
		t.Errorf("read across the end: %d, %v", n, err)
	}
	if n, err := d.ReadAt(p[:], size); n != 0 || err != io.EOF {
		t.Errorf("read behind the end: %d, %v", n, err)
	}
	if _, err := d.ReadAt(p[:], -1); err == nil || err == io.EOF {
		t.Errorf("read before the start: %v", err)
	}
	for _, off := range []int64{-1, size} {
		if _, err := d.Extent(off); err == nil {
			t.Errorf("extent at %d of %d: no error", off, size)
		}
	}
}

// checkExtent proves that a hole is zeros and returns the extent's length.
func checkExtent(t testing.TB, d source.Disk, want []byte, off int64) int64 {
	t.Helper()
	e, err := d.Extent(off)
	if err != nil || e.Length < 1 || e.Length > d.Size()-off {
		t.Errorf("extent at %d: %+v, %v", off, e, err)
		return d.Size()
	}
	if !e.Data && !allZero(want[off:off+e.Length]) {
		t.Errorf("extent at %d: a hole of %d bytes holds data", off, e.Length)
	}
	return e.Length
}

var zeros [64 << 10]byte

func allZero(p []byte) bool {
	for ; len(p) > len(zeros); p = p[len(zeros):] {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// DataBytes adds up the extents that are data.
func DataBytes(t testing.TB, d source.Disk) (data int64) {
	t.Helper()
	for off := int64(0); off < d.Size(); {
		e, err := d.Extent(off)
		if err != nil {
			t.Fatal(err)
		}
		if e.Data {
			data += e.Length
		}
		off += e.Length
	}
	return data
}

// Run runs a tool that the tests cannot do without.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// QemuRaw returns the guest's bytes as qemu reads them.
func QemuRaw(t testing.TB, format, path string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	Run(t, "qemu-img", "convert", "-f", format, "-O", "raw", path, raw)
	return ReadFile(t, raw)
}

// MountRaw returns the guest's bytes as libvhdi reads them, through vhdimount;
// the name of its file tells the number of parents.
func MountRaw(t testing.TB, path string) []byte {
	t.Helper()
	mnt := t.TempDir()
	Run(t, "vhdimount", path, mnt)
	defer func() {
		for range 50 { // a reader that was just closed may still hold it
			if exec.Command("fusermount3", "-u", mnt).Run() == nil || exec.Command("umount", mnt).Run() == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("cannot unmount %s", mnt)
	}()
	names, err := filepath.Glob(filepath.Join(mnt, "vhdi*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("vhdimount %s: %v, %v", path, names, err)
	}
	// vhdi1 is the oldest layer, the highest number the named image.
	return ReadFile(t, names[len(names)-1])
}

// ReadFile is os.ReadFile or the end of the test.
func ReadFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// WriteFile is os.WriteFile or the end of the test.
func WriteFile(t testing.TB, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Rewrite makes a file hold b. It never cuts the file to nothing first: ext4
// would then write it to the disk at each close, which takes the campaigns ten
// times as long.
func Rewrite(t testing.TB, path string, b []byte) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	return path
}

// Guest makes guest bytes: runs of random bytes, of zeros and of a pattern, at
// multiples of grain.
func Guest(seed uint64, size, grain int64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, size)
	for off := int64(0); off < size; {
		n := min(grain*(1+r.Int64N(1+size/grain/20)), size-off)
		switch r.IntN(3) {
		case 0:
			fill(r, b[off:off+n])
		case 1:
			for i := range b[off : off+n] {
				b[off+int64(i)] = byte(off>>9) | 1
			}
		}
		off += n
	}
	return b
}

func fill(r *rand.Rand, p []byte) {
	for i := 0; i+8 <= len(p); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			p[i+j] = byte(v >> (8 * j))
		}
	}
}
