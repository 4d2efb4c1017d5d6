package ext4

import (
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// crashes are the kinds of journal that the crash tests cover.
var crashes = []struct {
	name  string
	crash guesttest.Crash
	also  guesttest.Options
}{
	{"csum v3", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F"}}, guesttest.Options{}},
	{"1k, wraps", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=1"}, Size: 40 << 20}, guesttest.Options{}},
	{"data journaled", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-J", "size=8", "-O", "inline_data"}, Options: []string{"data=journal"}}, guesttest.Options{}},
	{"csum v1, async", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^64bit"}, Options: []string{"journal_checksum,journal_async_commit,data=writeback"}}, guesttest.Options{}},
	{"csum v1", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum", "-b", "2048"}, Options: []string{"journal_checksum"}}, guesttest.Options{}},
	{"fast commits", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "fast_commit"}}, guesttest.Options{DirsRebuilt: true, NoAllocated: true}},
	{"ext3", guesttest.Crash{Mkfs: []string{"mkfs.ext3", "-q", "-F"}}, guesttest.Options{}},
	{"bigalloc, orphan file", guesttest.Crash{Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "bigalloc,orphan_file"}, Size: 96 << 20}, guesttest.Options{}},
}

// TestCrashImages compares images copied under a random workload with the
// kernel's own recovery of them: two of each kind, or as many as
// HOLDFAST_CAMPAIGN says.
func TestCrashImages(t *testing.T) {
	for i, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.crash.Seed = uint64(i)
			transactions := 0
			guesttest.CrashImages(t, c.crash, guesttest.Rounds(t, 2), func(t testing.TB, snapshot, recovered string) {
				fs := guesttest.OpenImage(t, snapshot, open)
				st := fs.State()
				if st.Health != guest.Replayed {
					t.Errorf("state %+v", st)
				}
				transactions += st.Replayed
				t.Logf("replayed %d transactions", st.Replayed)
				c.also.GaveBack = true // of a truncation that was cut short
				guesttest.CompareTreeBut(t, fs, recovered, c.also)
				if !c.also.DirsRebuilt { // for which the kernel takes blocks
					checkFreeAfter(t, fs, recovered)
				}
			})
			if transactions == 0 {
				t.Error("no transaction in any of them")
			}
		})
	}
}

// checkFreeAfter holds the free space against the kernel's count after its
// recovery, which gives back what was deleted but still open: at most as much
// may be free before it, and not much less.
func checkFreeAfter(t testing.TB, fs guest.Filesystem, dir string) {
	t.Helper()
	ours, kernels := freeBytes(t, fs, dir)
	if ours > kernels || ours < kernels*9/10 {
		t.Errorf("%d bytes free, the kernel says %d after recovery", ours, kernels)
	}
}
