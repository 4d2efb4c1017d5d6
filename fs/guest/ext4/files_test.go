package ext4

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestFilesLeavesLittleGarbage walks many files with a fraction of an inode's bytes for
// each, as the beginning of every capture does.
func TestFilesLeavesLittleGarbage(t *testing.T) {
	const files, most = 3000, 200 // bytes a file: 43, and one inode each would be 288 more
	image := guesttest.Mkfs(t, 64<<20, "mkfs.ext4", "-q", "-F", "-N", "4096")
	guesttest.Mounted(t, image, func(dir string) {
		for i := range files {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("content"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	fs := guesttest.OpenImage(t, image, open)
	var before, after runtime.MemStats
	for range 2 { // the first one fills caches
		n := 0
		runtime.ReadMemStats(&before)
		if err := fs.Files(t.Context(), func(guest.Node, int64, guest.Extent) bool { n++; return true }); err != nil || n != files {
			t.Fatalf("%d files, %v", n, err)
		}
		runtime.ReadMemStats(&after)
	}
	if got := (after.TotalAlloc - before.TotalAlloc) / files; got > most {
		t.Errorf("%d bytes of memory for each file, want %d at the most", got, most)
	}
}
