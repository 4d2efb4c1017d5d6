package chunkstore

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// rewriteMarks changes the first run of a stopped prune's marks.
func rewriteMarks(t *testing.T, fsys vfs.FS, change func([]byte) []byte) {
	t.Helper()
	const name = "/store/prune/marks-0"
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if f, err = fsys.Create(name, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(change(b)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMarksThatChangedAreNotTrusted: a prune that was stopped is begun anew where
// its marks are not those that it wrote, as in a copy of the store that was made
// meanwhile: what is missing among them would be deleted.
func TestMarksThatChangedAreNotTrusted(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"empty":      func([]byte) []byte { return nil },
		"cut":        func(b []byte) []byte { return b[:8*(len(b)/16)] },
		"not first":  func(b []byte) []byte { return b[8:] },
		"bit":        func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"not whole":  func(b []byte) []byte { return b[:len(b)-3] },
		"one more":   func(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) },
		"as written": func(b []byte) []byte { return b },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			s := newStore(t, fsys, 64<<10)
			w := newTestWorld()
			for i, v := range []string{"a", "b", "c", "last"} {
				w.mustWrite(t, s, v, 20*i)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			walk := walkTest(s)
			_, err := s.Prune(ctx, PruneOptions{Walk: func(ctx context.Context, name string, body []byte, visit Visit) error {
				if name == "last" {
					cancel()
					return ctx.Err()
				}
				return walk(ctx, name, body, visit)
			}})
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			rewriteMarks(t, fsys, change)
			r := mustPrune(t, s, PruneOptions{})
			checkVersions(t, s, w.committed, w.begun, "pruned")
			if r.Resumed != (name == "as written") || r.DeadChunks != 0 {
				t.Fatalf("%+v", r)
			}
		})
	}
}
