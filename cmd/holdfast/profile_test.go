package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestProfiled keeps both profiles beside the result, and the result alone
// where there is no such directory.
func TestProfiled(t *testing.T) {
	want := errors.New("the result")
	do := func() error { return want }
	dir := t.TempDir()
	for _, in := range []struct {
		dir   string
		files int
	}{{"", 0}, {filepath.Join(dir, "none"), 0}, {dir, 2}} {
		t.Setenv(profileEnv, in.dir)
		if err := profiled(do); err != want {
			t.Fatalf("in %q: got %v", in.dir, err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "holdfast-*"))
		if err != nil || len(found) != in.files {
			t.Fatalf("in %q: found %v, %v", in.dir, found, err)
		}
		for _, f := range found {
			if st, err := os.Stat(f); err != nil || st.Size() == 0 {
				t.Fatalf("%s: %v", f, err)
			}
		}
	}
}
