package restore

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// newTarget makes a fresh target in a directory of its own.
func newTarget(t *testing.T, size int64) *target {
	t.Helper()
	tg, err := newFile(filepath.Join(t.TempDir(), "out"), size)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func TestPartsPastThePageCache(t *testing.T) {
	u := new(uncached)
	const unit = uncachedUnit
	for _, c := range []struct {
		n        int
		off      int64
		from, to int
	}{
		{0, 0, 0, 0},
		{uncachedFrom - 1, 0, 0, 0},
		{uncachedFrom, 0, 0, uncachedFrom},
		{uncachedFrom + 1, 0, 0, uncachedFrom},
		{uncachedFrom, 1, 0, 0}, // its whole blocks are too few
		{uncachedFrom + unit - 1, 1, unit - 1, uncachedFrom + unit - 1},
		{uncachedFrom + unit, unit - 1, 1, uncachedFrom + 1},
		{windowBytes, 7 * windowBytes, 0, windowBytes},
		{windowBytes, 7*windowBytes + 512, unit - 512, windowBytes - 512},
	} {
		if from, to := u.part(c.n, c.off); from != c.from || to != c.to {
			t.Errorf("part of %d bytes for %d: %d to %d, want %d to %d", c.n, c.off, from, to, c.from, c.to)
		}
	}
	u.off.Store(true)
	if from, to := u.part(windowBytes, 0); from != to {
		t.Errorf("%d to %d are to pass a page cache that must not be passed", from, to)
	}
	if from, to := (*uncached)(nil).part(windowBytes, 0); from != to {
		t.Errorf("%d to %d are to pass a page cache without a file for it", from, to)
	}
}

// TestWritesOfBothKinds writes windows at odd places and lengths, in any order,
// in every state that the way past the page cache may be in.
func TestWritesOfBothKinds(t *testing.T) {
	const size = 3*windowBytes + 12345
	want := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(want)
	nothing := func(*target) {}
	for name, spoil := range map[string]func(*target){
		"as it is":    nothing,
		"none":        func(tg *target) { tg.uncached.close(); tg.uncached = nil },
		"turned off":  func(tg *target) { tg.uncached.off.Store(true) },
		"not aligned": nothing, // in memory: the kernel refuses such a write
	} {
		t.Run(name, func(t *testing.T) {
			tg := newTarget(t, size)
			if tg.uncached == nil {
				t.Fatalf("no writes past the page cache in %s", filepath.Dir(tg.path))
			}
			spoil(tg)
			buf := newWindowBuffer(windowBytes)
			r := rand.New(rand.NewPCG(1, 2))
			var wins []window
			for off := int64(0); off < size; {
				n := min(1+r.Int64N(windowBytes), size-off, (off/windowBytes+1)*windowBytes-off)
				wins = append(wins, window{off: off, length: int(n)})
				off += n
			}
			r.Shuffle(len(wins), func(i, k int) { wins[i], wins[k] = wins[k], wins[i] })
			for _, w := range wins {
				b := buf.at(w)
				if name == "not aligned" {
					b = make([]byte, w.length+1)[1:]
				}
				copy(b, want[w.off:])
				if n, err := tg.writeAt(b, w.off); err != nil || n != len(b) {
					t.Fatalf("%d of %d bytes at %d: %v", n, len(b), w.off, err)
				}
			}
			if name == "not aligned" && !tg.uncached.off.Load() {
				t.Error("no write was refused")
			}
			if err := tg.finish(); err != nil {
				t.Fatal(err)
			}
			sameFile(t, tg.path, want)
		})
	}
}

func TestWriteErrorsAreNotLost(t *testing.T) {
	tg := newTarget(t, 2*windowBytes)
	tg.uncached.close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	tg.uncached = &uncached{file: full}
	if n, err := tg.writeAt(bytes.Repeat([]byte{1}, windowBytes), 0); err == nil || n != 0 {
		t.Errorf("write to a full disk: %d bytes, %v", n, err)
	}
	if err := tg.abandon(); err != nil {
		t.Error(err)
	}
}
