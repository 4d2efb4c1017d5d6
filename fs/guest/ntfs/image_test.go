package ntfs

import (
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// kinds are the ways to make a volume that the tests cover.
var kinds = []struct {
	name string
	size int64
	mkfs []string
}{
	{"4k", 96 << 20, []string{"-L", "a label"}},
	{"512", 96 << 20, []string{"-c", "512"}},
	{"1k", 96 << 20, []string{"-c", "1024"}},
	{"sectors of 4k", 96 << 20, []string{"-s", "4096", "-c", "4096"}},
	{"64k", 512 << 20, []string{"-c", "65536"}},
	{"2m", 1 << 30, []string{"-c", "2097152"}},
}

// TestCleanImages compares volumes of every kind with ntfs-3g's mount, in all
// that can be seen.
func TestCleanImages(t *testing.T) {
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			image := mkntfs(t, kind.size, kind.mkfs...)
			mounted(t, image, func(dir string) {
				if kind.name == "2m" {
					populateFew(t, dir)
					return
				}
				guesttest.PopulateTree(t, dir, guesttest.Tree{Seed: uint64(i), Many: 600, Fragmented: 1 << 20})
			}, "streams_interface=xattr")
			fs := compare(t, image)
			if st := fs.State(); st.Health != guest.Clean || st.Reason != "" || st.Type != "ntfs" || st.Size > kind.size || st.Used < 1<<20 || st.Used > st.Size {
				t.Errorf("state %+v", st)
			}
		})
	}
}
