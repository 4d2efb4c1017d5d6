package ext4

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

var open = guesttest.Opener(Open)

// kinds are the ways to make a filesystem that the tests cover.
var kinds = []struct {
	name string
	size int64
	mkfs []string
}{
	{"ext4", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-L", "a label"}},
	{"ext4 1k", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-b", "1024"}},
	{"ext4 2k 128", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-b", "2048", "-I", "128"}},
	{"ext4 inline", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "inline_data,ea_inode,large_dir", "-I", "512"}},
	{"ext4 inline small", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "inline_data,metadata_csum_seed", "-b", "1024"}},
	{"ext4 no checksums", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^64bit,uninit_bg"}},
	{"ext4 no checksums 64bit", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,64bit,uninit_bg"}},
	{"ext4 bigalloc", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "bigalloc", "-C", "16384"}},
	{"ext4 bigalloc 1k", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "bigalloc", "-b", "1024", "-C", "8192"}},
	{"ext4 meta_bg", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "meta_bg,^resize_inode", "-b", "1024"}},
	{"ext4 meta_bg sparse_super2", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "meta_bg,^resize_inode,sparse_super2", "-b", "1024"}},
	{"ext4 sparse_super2", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "sparse_super2,^resize_inode", "-b", "1024"}},
	{"ext4 no flex_bg", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^flex_bg,orphan_file", "-b", "1024"}},
	{"ext4 all", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "mmp,encrypt,verity,orphan_file,metadata_csum_seed,fast_commit"}},
	{"ext4 no dir_index", 64 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^dir_index"}},
	{"ext3", 64 << 20, []string{"mkfs.ext3", "-q", "-F"}},
	{"ext2", 64 << 20, []string{"mkfs.ext2", "-q", "-F"}},
	{"ext2 1k", 64 << 20, []string{"mkfs.ext2", "-q", "-F", "-b", "1024", "-I", "256"}},
}

// TestCleanImages compares filesystems of every kind with the kernel's mount,
// in all that can be seen, and their free space with its count.
func TestCleanImages(t *testing.T) {
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			image := guesttest.Mkfs(t, kind.size, kind.mkfs...)
			tree := guesttest.Tree{Seed: uint64(i)}
			if i > 1 {
				tree.Many, tree.Fragmented = 600, 1<<20
			}
			if strings.Contains(kind.name, "bigalloc") {
				tree.Many, tree.Fragmented = 200, 128<<10 // the kernel takes 10 ms to delete a file of these
			}
			guesttest.Mounted(t, image, func(dir string) { guesttest.PopulateTree(t, dir, tree) })
			fs := guesttest.OpenImage(t, image, open)
			if st := fs.State(); st.Health != guest.Clean || st.Reason != "" || st.Type+" " != (kind.name + " ")[:5] || st.Size > kind.size || st.Used < 1<<20 || st.Used > st.Size {
				t.Errorf("state %+v", st)
			}
			dir, _ := guesttest.Mount(t, image, "ro")
			guesttest.CompareTree(t, fs, dir)
			compareFreeCount(t, fs, dir)
		})
	}
}

// compareFreeCount holds the sum of free ranges against statfs.
func compareFreeCount(t *testing.T, fs guest.Filesystem, dir string) {
	t.Helper()
	if ours, kernels := freeBytes(t, fs, dir); ours != kernels {
		t.Errorf("%d bytes free, the kernel says %d", ours, kernels)
	}
}

// freeBytes gives the sum of free ranges, and what the kernel says is free.
func freeBytes(t testing.TB, fs guest.Filesystem, dir string) (ours, kernels int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if err := fs.Free(t.Context(), func(r guest.Range) bool { ours += r.Length; return true }); err != nil {
		t.Fatal(err)
	}
	return ours, int64(st.Bfree) * st.Bsize
}
