package sourcetest

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"holdfast/capture/source"
)

// CheckTruncated cuts the file at path, one of those of an image whose guest
// is want, off at every step-th byte, and opens the image each time. That must
// fail or give the guest, but for a tail of zeros that a file of whole sectors
// may have left out (see source.File.ReadPadded).
func CheckTruncated(t testing.TB, path string, step int64, want []byte, open func() (*source.Opened, error)) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for size := info.Size() - 1; size >= 0; size -= step {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		got, err := Walk(t, open)
		if err != nil {
			failed++
			continue
		}
		if len(got) != len(want) {
			t.Fatalf("cut off at %d: a disk of %d bytes, want %d", size, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] && (got[i] != 0 || size%source.SectorSize != 0) {
				t.Fatalf("cut off at %d: byte %d is %#x, want %#x or an error", size, i, got[i], want[i])
			}
		}
	}
	if failed == 0 {
		t.Error("no cut was noticed")
	}
}

// CheckMutated changes a few bytes of the file at path, again and again, and
// opens the image each time: anything may come but a panic, a hang, a broken
// extent or unbounded memory.
func CheckMutated(t testing.TB, path string, rounds int, open func() (*source.Opened, error)) {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rnd := rand.New(rand.NewPCG(uint64(len(whole)), 6))
	odd := []byte{0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff}
	for range rounds {
		mutant := bytes.Clone(whole)
		for range 1 + rnd.IntN(6) {
			at := rnd.IntN(len(mutant))
			if rnd.IntN(2) == 0 {
				at = rnd.IntN(min(len(mutant), 128)) // the header matters most
			}
			mutant[at] = odd[rnd.IntN(len(odd))]
			if rnd.IntN(4) == 0 {
				mutant[at] = byte(rnd.Uint32())
			}
		}
		if _, err := f.WriteAt(mutant, 0); err != nil {
			t.Fatal(err)
		}
		Walk(t, open) // whatever it says
	}
	if _, err := f.WriteAt(whole, 0); err != nil {
		t.Fatal(err)
	}
}

// Fuzz walks an image of any content, which stands alone in its directory.
func Fuzz(f *testing.F, open func(path string) (*source.Opened, error)) {
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := WriteFile(t, dir, "x", content)
		Walk(t, func() (*source.Opened, error) { return open(path) })
	})
}
