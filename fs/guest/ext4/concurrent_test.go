package ext4

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
	"holdfast/fs/guest/guesttest"
)

// TestConcurrent walks one filesystem from several goroutines, some of which
// give up in the middle; the others must not notice.
func TestConcurrent(t *testing.T) {
	image := smallImage(t, 8<<20, true, smallKinds[6].mkfs...)
	fs := guesttest.OpenImage(t, image, open)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if i%2 == 1 {
				cancel()
				if err := guesttest.Walk(ctx, fs); !errors.Is(err, context.Canceled) {
					t.Errorf("a walk that was given up: %v", err)
				}
				return
			}
			if err := guesttest.Walk(ctx, fs); err != nil {
				t.Error(err)
			}
			if _, err := fs.ReadAt(ctx, path(t, fs, "sizes/s20000"), make([]byte, 20000), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestReadErrors gives a volume's errors to the caller, never damage or an end
// of the file, and reads well again when the volume does.
func TestReadErrors(t *testing.T) {
	image := smallImage(t, 8<<20, false, smallKinds[0].mkfs...)
	for _, short := range []bool{false, true} {
		v := &guesttest.Failing{Volume: guesttest.OpenFile(t, image), Short: short}
		want := guesttest.ErrDisk
		if short {
			want = io.ErrUnexpectedEOF
		}
		v.Broken.Store(true)
		if _, err := Open(t.Context(), v); !errors.Is(err, want) {
			t.Errorf("open: %v", err)
		}
		v.Broken.Store(false)
		fs, err := Open(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		file := path(t, fs, "sizes/s20000")
		fs.cache = blockcache.New(cacheBytes)
		v.Broken.Store(true)
		p := make([]byte, 20000)
		if _, err := fs.ReadAt(t.Context(), file, p, 0); !errors.Is(err, want) || errors.Is(err, io.EOF) {
			t.Errorf("read: %v", err)
		}
		if err := fs.Free(t.Context(), func(guest.Range) bool { return true }); !errors.Is(err, want) {
			t.Errorf("free: %v", err)
		}
		if err := fs.Files(t.Context(), func(guest.Node, int64, guest.Extent) bool { return true }); !errors.Is(err, want) {
			t.Errorf("files: %v", err)
		}
		v.Broken.Store(false)
		if n, err := fs.ReadAt(t.Context(), file, p, 0); n != len(p) || err != nil {
			t.Errorf("read again: %d, %v", n, err)
		}
	}
}
