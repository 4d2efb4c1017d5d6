package restore

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// evict writes a file out and takes it from the page cache, as far as its filesystem
// lets that happen.
func evict(t *testing.T, f *os.File) {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}

// TestIntake reads windows at odd places of a target whose pages are cached, evicted,
// dirty, or some of each, by every way that there is.
func TestIntake(t *testing.T) {
	const size = 2*windowBytes + 12345
	want := make([]byte, size)
	rand.NewChaCha8([32]byte{9}).Read(want)
	path := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dirty := func() {
		for _, at := range []int{5, 70_000, windowBytes - 3, size - 9} {
			copy(want[at:], "dirty")
			if _, err := f.WriteAt(want[at:at+5], int64(at)); err != nil {
				t.Fatal(err)
			}
			want[at]++
			if _, err := f.WriteAt(want[at:at+1], int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	buf := newWindowBuffer(windowBytes)
	windows := []window{{off: 0, length: windowBytes}, {off: windowBytes, length: windowBytes}, {off: 2 * windowBytes, length: 12345}, {off: 2 * windowBytes, length: windowBytes},
		{off: 511, length: 300_000}, {off: 4097, length: windowBytes - 4097}, {off: 77, length: 1}, {off: windowBytes + 1, length: windowBytes - 1}}
	for name, c := range map[string]struct {
		make func(*intake)
		way  func(in *intake, win window) ([]byte, error)
	}{
		"evicted":         {func(*intake) { evict(t, f) }, nil},
		"cached":          {func(*intake) { os.ReadFile(path) }, nil},
		"dirty":           {func(*intake) { evict(t, f); dirty() }, nil},
		"all past":        {func(*intake) { dirty() }, func(in *intake, win window) ([]byte, error) { return readAllPast(t, in, buf, win, size) }},
		"past is refused": {func(in *intake) { in.off.Store(true) }, nil},
		"no past":         {func(in *intake) { in.close(); in.direct = nil }, nil},
		"past is closed":  {func(in *intake) { evict(t, f); in.direct.Close() }, nil},
	} {
		in := newIntake(f)
		if in.direct == nil {
			t.Fatalf("%s does not open with O_DIRECT; a test of restores needs a file system that does", path)
		}
		c.make(in)
		for _, win := range windows {
			read := in.read
			if c.way != nil {
				read = func(_ windowBuffer, win window) ([]byte, error) { return c.way(in, win) }
			}
			for i := range buf.pages {
				buf.pages[i] = 0xaa
			}
			got, err := read(buf, win)
			expect := make([]byte, win.length)
			copy(expect, want[win.off:])
			if err != nil || !bytes.Equal(got, expect) {
				t.Errorf("%s: the window of %d bytes at %d is not as it is in the file, %v", name, win.length, win.off, err)
			}
		}
		if name != "no past" && name != "past is closed" {
			in.close()
		}
	}
}

// readAllPast reads a window past the page cache, whatever that has, where all of it is
// in the file of size bytes.
func readAllPast(t *testing.T, in *intake, buf windowBuffer, win window, size int64) ([]byte, error) {
	t.Helper()
	all := in.readPast(buf, win)
	if inside := win.off+int64(win.length) <= size; all != inside {
		t.Errorf("the window of %d bytes at %d was read past the page cache: %v, it is in the file: %v", win.length, win.off, all, inside)
	}
	if all {
		return buf.at(win), nil
	}
	return in.read(buf, win)
}

// TestOverwriteOfWhatIsNotCached restores onto targets that have to be read from the disk.
func TestOverwriteOfWhatIsNotCached(t *testing.T) {
	s := newStore(t)
	b := diskBytes(41, 21<<20+777)
	d := s.put(t, b)
	for _, size := range []int{len(b), len(b) - 5000, len(b) + 5000, 9<<20 + 1} {
		now := append(bytes.Clone(b), make([]byte, 5000)...)[:size]
		changes(rand.New(rand.NewPCG(uint64(size), 1)), now)
		out := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(out, now, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		evict(t, f)
		f.Close()
		mustRun(t, s, Options{Disk: d, Out: out, Overwrite: true})
		sameFile(t, out, b)
	}
}
