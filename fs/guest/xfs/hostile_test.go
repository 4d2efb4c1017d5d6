package xfs

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// dirtyImage is a small image as it was while mounted, with a log to replay.
func dirtyImage(t testing.TB, options ...string) string {
	t.Helper()
	image := guesttest.Mkfs(t, 32<<20, mkfs(append([]string{"-b", "size=1k", "-d", "agcount=2"}, options...)...)...)
	dir, unmount := guesttest.Mount(t, image)
	guesttest.PopulateFew(t, dir, 1) // ends with a sync
	dirty := guesttest.Copy(t, image)
	unmount()
	return dirty
}

// openLax opens a volume whose checksums are all taken as right: a guest that
// means harm makes them so.
var openLax = guesttest.Opener(func(ctx context.Context, v guest.Volume) (*FS, error) {
	return openFS(ctx, &FS{volume: v, lax: true})
})

// TestMutants changes what the reader reads, with and without the checksums
// that stop most changes early.
func TestMutants(t *testing.T) {
	n := guesttest.Rounds(t, 500)
	t.Run("clean", func(t *testing.T) { guesttest.Mutate(t, smallImage(t), open, n, 1) })
	t.Run("dirty", func(t *testing.T) { guesttest.Mutate(t, dirtyImage(t), open, n, 2) })
	t.Run("clean, lax", func(t *testing.T) { guesttest.Mutate(t, smallImage(t), openLax, n, 3) })
	t.Run("dirty, lax", func(t *testing.T) { guesttest.Mutate(t, dirtyImage(t), openLax, n, 4) })
}

func TestTruncated(t *testing.T) {
	guesttest.Truncate(t, smallImage(t), open, 50)
}

func FuzzReader(f *testing.F) {
	guesttest.Fuzz(f, dirtyImage(f), openLax)
}

// TestConcurrent walks one volume many times at once, with a context that ends
// among them.
func TestConcurrent(t *testing.T) {
	fs := guesttest.OpenImage(t, dirtyImage(t), open)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 2 {
				time.AfterFunc(time.Millisecond, cancel)
			}
			if err := guesttest.Walk(ctx, fs); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
