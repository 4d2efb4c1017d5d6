package ext4

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// smallKinds are images for mutants. Most have no checksums: with them nearly
// every mutant ends at the first check.
var smallKinds = []struct {
	name  string
	dirty bool
	mkfs  []string
}{
	{"extents", false, []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^metadata_csum,^has_journal"}},
	{"inline", false, []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^metadata_csum,^has_journal,inline_data,ea_inode,^uninit_bg"}},
	{"pointers", false, []string{"mkfs.ext2", "-q", "-F", "-b", "1024", "-I", "256"}},
	{"bigalloc", false, []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^has_journal,bigalloc"}},
	{"checksums", false, []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^has_journal,inline_data"}},
	{"journal", true, []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=2", "-O", "^metadata_csum,^uninit_bg"}},
	{"journal v3", true, []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=2"}},
	{"fast commits", true, []string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=2,fast_commit_size=64", "-O", "^metadata_csum,fast_commit"}},
}

// smallImage makes an image that is quick to walk, dirty ones by a copy while
// it is mounted.
func smallImage(t testing.TB, size int64, dirty bool, mkfs ...string) string {
	image := guesttest.Mkfs(t, size, mkfs...)
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	guesttest.Mounted(t, image, func(dir string) {
		guesttest.PopulateFew(t, dir, 1)
		if err := os.Remove(filepath.Join(dir, "lost+found")); err != nil {
			t.Fatal(err)
		}
		if dirty {
			fastWorkload(t, dir, rand.New(rand.NewPCG(9, 9)))
			guesttest.Snapshot(t, image, snapshot)
		}
	})
	if dirty {
		return snapshot
	}
	return image
}

// TestMutants opens 2,080 damaged images, or as many of each kind as
// HOLDFAST_CAMPAIGN says: an error or some files may come of it, but no panic,
// no hang, and no more than 256 MiB.
func TestMutants(t *testing.T) {
	for i, kind := range smallKinds {
		t.Run(kind.name, func(t *testing.T) {
			image := smallImage(t, 8<<20, kind.dirty, kind.mkfs...)
			guesttest.Mutate(t, image, open, guesttest.Rounds(t, 260), uint64(i))
		})
	}
}

// TestTruncated opens images that end early.
func TestTruncated(t *testing.T) {
	guesttest.Truncate(t, smallImage(t, 8<<20, false, smallKinds[0].mkfs...), open, 100)
}

// FuzzOpen changes what the reader reads of a small image with a journal and
// fast commits.
func FuzzOpen(f *testing.F) {
	kind := smallKinds[len(smallKinds)-1]
	guesttest.Fuzz(f, smallImage(f, 8<<20, kind.dirty, kind.mkfs...), open)
}

// FuzzFiles does the same with one of inline content, xattr inodes and extents.
func FuzzFiles(f *testing.F) {
	guesttest.Fuzz(f, smallImage(f, 8<<20, false, smallKinds[1].mkfs...), open)
}

// TestNotExt4 says ErrNotMine of what is none, and names features that can't
// be read.
func TestNotExt4(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	for _, size := range []int{0, 1, 1024, 2047, 2048, 1 << 20} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), guesttest.OpenFile(t, path)); !errors.Is(err, guest.ErrNotMine) {
			t.Errorf("%d zeros: %v", size, err)
		}
	}
	image := smallImage(t, 8<<20, false, smallKinds[0].mkfs...)
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	for bit, name := range map[int]string{0: "compression", 12: "dirdata", 31: "number 31"} {
		incompat := le.Uint32(content[1024+0x60:])
		le.PutUint32(content[1024+0x60:], incompat|1<<bit)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), guesttest.OpenFile(t, path)); !errors.Is(err, guest.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("feature %d: %v", bit, err)
		}
		le.PutUint32(content[1024+0x60:], incompat)
	}
}
