package source

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestReadAheadEndsEverywhere: it is advice; whatever the file is, it comes to
// its end and changes nothing.
func TestReadAheadEndsEverywhere(t *testing.T) {
	dir := t.TempDir()
	sparse := filepath.Join(dir, "sparse")
	if err := os.WriteFile(sparse, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<40); err != nil {
		t.Fatal(err)
	}
	empty, full := filepath.Join(dir, "empty"), filepath.Join(dir, "full")
	want := bytes.Repeat([]byte("full"), 1<<20)
	for path, b := range map[string][]byte{empty: nil, full: want} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{sparse, empty, full, dir, filepath.Join(dir, "none"), os.DevNull} {
		for _, n := range []int64{-1, 0, 1, aheadStep - 1, aheadStep, aheadStep + 1, 64 << 20} {
			ReadAhead(t.Context(), path, n)
		}
	}
	if got, err := os.ReadFile(full); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
