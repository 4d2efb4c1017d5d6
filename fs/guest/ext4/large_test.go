package ext4

import (
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestLargeVolume opens a volume of 1 TiB, nearly empty, and asks for all that
// goes through every group, in bounded time.
func TestLargeVolume(t *testing.T) {
	image := guesttest.Mkfs(t, 1<<40, "mkfs.ext4", "-q", "-F", "-O", "meta_bg,^resize_inode", "-N", "600000", "-J", "size=8")
	fs := guesttest.OpenImage(t, image, open)
	start := time.Now()
	free := int64(0)
	if err := fs.Free(t.Context(), func(r guest.Range) bool { free += r.Length; return true }); err != nil {
		t.Fatal(err)
	}
	if err := fs.Files(t.Context(), func(guest.Node, int64, guest.Extent) bool { return true }); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("took %v", took)
	if took > time.Minute {
		t.Errorf("took %v", took)
	}
	dir, _ := guesttest.Mount(t, image, "ro")
	compareFreeCount(t, fs, dir)
	if st := fs.State(); st.Size != 1<<40 || st.Used != st.Size-free {
		t.Errorf("state %+v, %d bytes free", st, free)
	}
}
