package btrfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// openLax opens a volume whose checksums are all taken as right: a guest that
// means harm makes them so.
var openLax = guesttest.Opener(func(ctx context.Context, v guest.Volume) (*FS, error) {
	return openFS(ctx, &FS{lax: true}, v, nil)
})

// smallImage makes an image that is quick to walk, with subvolumes in it; a
// dirty one as it is while it is mounted, with a log.
func smallImage(t testing.TB, dirty bool, options ...string) string {
	t.Helper()
	image := guesttest.Mkfs(t, 48<<20, mkfs(append([]string{"-m", "single", "-d", "single"}, options...)...)...)
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	guesttest.Mounted(t, image, func(dir string) {
		guesttest.PopulateFew(t, dir, 1)
		guesttest.Run(t, "btrfs", "subvolume", "create", dir+"/volume")
		guesttest.Run(t, "cp", "-r", dir+"/sizes", dir+"/volume/copy")
		guesttest.Run(t, "btrfs", "subvolume", "create", dir+"/volume/inner")
		guesttest.Run(t, "btrfs", "subvolume", "snapshot", dir+"/volume", dir+"/snapshot")
		guesttest.Run(t, "btrfs", "filesystem", "sync", dir)
		if dirty {
			dirtyLog(t, dir)
			guesttest.Snapshot(t, image, snapshot)
		}
	}, "compress=zstd")
	if dirty {
		return snapshot
	}
	return image
}

// dirtyLog changes this and that and syncs it into the log.
func dirtyLog(t testing.TB, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sync := func(path string) {
		f, err := os.Open(path)
		must(err)
		must(f.Sync())
		must(f.Close())
	}
	must(os.WriteFile(dir+"/many/new", []byte(strings.Repeat("new content ", 3000)), 0o600))
	must(os.Rename(dir+"/many/name-of-a-file-003", dir+"/many/renamed"))
	must(os.Remove(dir + "/many/name-of-a-file-004"))
	must(os.Link(dir+"/many/name-of-a-file-005", dir+"/linked"))
	must(os.Truncate(dir+"/holes", 500_000))
	must(os.Mkdir(dir+"/many/directory", 0o755))
	must(os.WriteFile(dir+"/volume/in", []byte("in a subvolume"), 0o644))
	for _, path := range []string{"/many/new", "/many/renamed", "/linked", "/holes", "/many", "/volume/in"} {
		sync(dir + path)
	}
}

// TestMutants changes what the reader reads, with and without the checksums
// that stop most changes.
func TestMutants(t *testing.T) {
	clean, dirty := smallImage(t, false), smallImage(t, true, "-n", "4k")
	n := guesttest.Rounds(t, 500)
	runtime.GC() // garbage of tests before is not the reader's
	t.Run("clean", func(t *testing.T) { guesttest.Mutate(t, clean, open, n, 1) })
	t.Run("dirty", func(t *testing.T) { guesttest.Mutate(t, dirty, open, n, 2) })
	t.Run("clean, lax", func(t *testing.T) { guesttest.Mutate(t, clean, openLax, n, 3) })
	t.Run("dirty, lax", func(t *testing.T) { guesttest.Mutate(t, dirty, openLax, n, 4) })
}

func TestTruncated(t *testing.T) {
	guesttest.Truncate(t, smallImage(t, false), open, 40)
}

func FuzzReader(f *testing.F) {
	guesttest.Fuzz(f, smallImage(f, true, "-n", "4k"), openLax)
}

// FuzzDecoders decodes garbage with each compression.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte{1, 0x78, 0x9c, 3, 0})
	f.Add([]byte{2, 16, 0, 0, 0, 8, 0, 0, 0, 18, 'a', 32, 200, 17, 0, 0, 0})
	f.Add([]byte{3, 0x28, 0xb5, 0x2f, 0xfd, 0x24, 1, 9, 0, 0, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		out := make([]byte, 16<<10)
		if err := decoders[1+b[0]%3](out, b[1:], 4096); err != nil && len(err.Error()) == 0 {
			t.Error("an error without words")
		}
	})
}

// TestConcurrent walks one volume many times at once, with a context that ends
// among them.
func TestConcurrent(t *testing.T) {
	fs := guesttest.OpenImage(t, smallImage(t, true), open)
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
