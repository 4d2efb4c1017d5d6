package btrfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

var open = guesttest.Opener(func(ctx context.Context, v guest.Volume) (*FS, error) { return Open(ctx, v) })

func mkfs(options ...string) []string { return append([]string{"mkfs.btrfs", "-q", "-f"}, options...) }

// sees are the differences between the reader and the kernel's mount: FIEMAP
// tells places in the logical space.
var sees = guesttest.Options{OtherPlaces: true, OtherNodes: true}

// kinds are the ways to make a filesystem that the tests cover.
var kinds = []struct {
	name  string
	mkfs  []string
	mount []string
}{
	{"default", mkfs("-L", "a label"), nil},
	{"zlib", mkfs("--csum", "xxhash", "-m", "single"), []string{"compress-force=zlib"}},
	{"lzo", mkfs("--csum", "sha256", "-n", "4k", "-m", "single"), []string{"compress-force=lzo"}},
	{"zstd", mkfs("--csum", "blake2", "-n", "64k", "-m", "single", "-d", "dup"), []string{"compress-force=zstd"}},
	{"mixed, holes, extent tree", mkfs("-M", "-O", "^no-holes,^skinny-metadata,^extref", "-R", "^free-space-tree"), []string{"compress=zstd", "space_cache=v1"}},
	{"no checksums", mkfs("-n", "32k"), []string{"nodatasum"}},
}

// TestCleanImages compares filesystems of every kind with the kernel's mount,
// in all that can be seen.
func TestCleanImages(t *testing.T) {
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			image := guesttest.Mkfs(t, 320<<20, kind.mkfs...)
			guesttest.Mounted(t, image, func(dir string) {
				guesttest.PopulateTree(t, dir, guesttest.Tree{Seed: uint64(i), Many: 300, Fragmented: 512 << 10})
			}, kind.mount...)
			fs := guesttest.OpenImage(t, image, open)
			if st := fs.State(); st.Health != guest.Clean || st.Reason != "" || st.Type != "btrfs" || st.Size != 320<<20 || st.Used < 1<<20 || st.Used > st.Size {
				t.Errorf("state %+v", st)
			}
			dir, _ := guesttest.Mount(t, image, "ro")
			guesttest.CompareTreeBut(t, fs, dir, sees)
		})
	}
}

// TestSubvolumes reads subvolumes and snapshots, within each other, deleted and
// renamed, with the top level as the root and with another.
func TestSubvolumes(t *testing.T) {
	image := guesttest.Mkfs(t, 160<<20, mkfs("-m", "single")...)
	id := ""
	guesttest.Mounted(t, image, func(dir string) {
		for _, path := range []string{"/a", "/a/inner", "/a/inner/most", "/gone"} {
			guesttest.Run(t, "btrfs", "subvolume", "create", dir+path)
			for i := range 20 {
				if err := os.WriteFile(fmt.Sprintf("%s%s/file%d", dir, path, i), bytes.Repeat([]byte(path), 1+i*700), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		guesttest.Run(t, "btrfs", "subvolume", "snapshot", "-r", dir+"/a", dir+"/snapshot")
		guesttest.Run(t, "btrfs", "subvolume", "snapshot", dir+"/a/inner", dir+"/a/again")
		guesttest.Run(t, "cp", "--reflink=always", dir+"/a/file19", dir+"/reflink")
		guesttest.Run(t, "mv", dir+"/a/again/file3", dir+"/a/again/renamed")
		guesttest.Run(t, "mv", dir+"/a/inner", dir+"/a/moved")
		guesttest.Run(t, "btrfs", "subvolume", "delete", "-c", dir+"/gone")
		id = strings.Fields(guesttest.Run(t, "btrfs", "inspect-internal", "rootid", dir+"/a"))[0]
	})
	o := sees
	// The kernel gives these the time at which they are looked at.
	empty := func(path string) bool {
		return path == "snapshot/inner" || path == "again/most" || path == "a/again/most"
	}
	o.Skip = empty
	compare := func(reason string) {
		t.Helper()
		fs := guesttest.OpenImage(t, image, open)
		if st := fs.State(); st.Reason != reason {
			t.Errorf("state %+v", st)
		}
		dir, unmount := guesttest.Mount(t, image, "ro")
		defer unmount()
		guesttest.CompareTreeBut(t, fs, dir, o)
	}
	compare("")
	fs := guesttest.OpenImage(t, image, open)
	inner := lookup(t, fs, "snapshot", "inner")
	if a, err := fs.Stat(t.Context(), inner); err != nil || a.Perm != 0o755 || a.Size != 0 || a.Type != guest.Directory {
		t.Errorf("a subvolume in a snapshot: %+v, %v", a, err)
	}
	if n, err := fs.Lookup(t.Context(), inner, "file1"); !errors.Is(err, guest.ErrNotExist) {
		t.Errorf("in it: %d, %v", n, err)
	}
	for node, count := range filesSeen(t, fs) {
		if count > 1 {
			t.Errorf("node %d comes %d times", node, count)
		}
	}
	guesttest.Mounted(t, image, func(dir string) { guesttest.Run(t, "btrfs", "subvolume", "set-default", id, dir) })
	compare("the root is that of the default subvolume, " + id)
	guesttest.Run(t, "btrfstune", "-f", "-m", image) // another uuid, by which metadata are not known
	compare("the root is that of the default subvolume, " + id)
}

// lookup finds a file by its path.
func lookup(t testing.TB, fs guest.Filesystem, path ...string) guest.Node {
	t.Helper()
	n := fs.Root()
	for _, name := range path {
		var err error
		if n, err = fs.Lookup(t.Context(), n, name); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// filesSeen counts how often Files gives the start of each file.
func filesSeen(t testing.TB, fs guest.Filesystem) map[guest.Node]int {
	t.Helper()
	seen := map[guest.Node]int{}
	err := fs.Files(t.Context(), func(n guest.Node, _ int64, e guest.Extent) bool {
		if e.Offset == 0 {
			seen[n]++
		}
		return true
	})
	if err != nil || len(seen) < 20 {
		t.Errorf("%d files, %v", len(seen), err)
	}
	return seen
}

// TestFreeExactly holds free space against what is in use by the superblock's
// count, where all lies on the device once.
func TestFreeExactly(t *testing.T) {
	for _, options := range [][]string{{"-m", "single"}, {"-m", "single", "-R", "^free-space-tree"}, {"-M", "-n", "4k"}} {
		image := guesttest.Mkfs(t, 160<<20, mkfs(options...)...)
		guesttest.Mounted(t, image, func(dir string) {
			guesttest.PopulateTree(t, dir, guesttest.Tree{Many: 100, Fragmented: 64 << 10})
		}, "space_cache=v"+map[bool]string{true: "1", false: "2"}[len(options) == 4])
		fs := guesttest.OpenImage(t, image, open)
		free := int64(0)
		if err := fs.Free(t.Context(), func(r guest.Range) bool { free += r.Length; return true }); err != nil {
			t.Fatal(err)
		}
		st := fs.State()
		if want := st.Size - st.Used - reservedStart - stripeLen; free != want {
			t.Errorf("%q: %d bytes free, want %d", options, free, want)
		}
	}
}
