package ext4

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// TestFastCommits compares the replay of fast commits with the kernel's. The
// workload does only what the kernel logs in that way, and syncs often. The
// kernel's replay gives a directory that it adds a name to the time of the
// replay, counts the links of new directories wrongly, and allocates blocks of
// its own choice: these are left out.
func TestFastCommits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	seen := 0
	for range guesttest.Rounds(t, 4) {
		image := guesttest.Mkfs(t, 64<<20, "mkfs.ext4", "-q", "-F", "-O", "fast_commit")
		snapshot := filepath.Join(t.TempDir(), "snapshot")
		guesttest.Mounted(t, image, func(dir string) {
			fastWorkload(t, dir, rnd)
			guesttest.Snapshot(t, image, snapshot)
		})
		fs, err := Open(t.Context(), guesttest.OpenFile(t, snapshot))
		if err != nil {
			t.Fatal(err)
		}
		if fs.state.Health != guest.Replayed {
			t.Errorf("state %+v", fs.state)
		}
		if fs.fast != nil {
			seen += fs.fast.commits
			t.Logf("%d fast commits, %d inodes changed", fs.fast.commits, len(fs.fast.inodes))
		}
		recovered := guesttest.Copy(t, snapshot)
		guesttest.Mounted(t, recovered, func(dir string) {
			guesttest.CompareTreeBut(t, fs, dir, guesttest.Options{DirsRebuilt: true, NoAllocated: true})
		})
		if t.Failed() {
			guesttest.Keep(t, snapshot)
			break
		}
	}
	if seen == 0 {
		t.Error("no fast commit in any of the images")
	}
}

// fastWorkload makes files, then changes some, with a sync after each change.
func fastWorkload(t testing.TB, dir string, rnd *rand.Rand) {
	var files []string
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sync := func(path string) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(err)
		must(f.Sync())
		must(f.Close())
	}
	create := func() {
		path := filepath.Join(dir, fmt.Sprintf("d%d", rnd.IntN(3)), fmt.Sprintf("f%08x", rnd.Uint32()))
		must(os.WriteFile(path, make([]byte, rnd.IntN(40000)), 0o644))
		files = append(files, path)
	}
	for i := range 3 {
		must(os.Mkdir(filepath.Join(dir, fmt.Sprintf("d%d", i)), 0o755))
	}
	for range 40 {
		create()
	}
	must(syncDir(dir))
	for range 10 + rnd.IntN(60) {
		i := rnd.IntN(len(files))
		switch rnd.IntN(24) {
		default:
			create()
			sync(files[len(files)-1])
		case 1, 2, 10, 11, 12, 13: // write somewhere, so that ranges are added
			f, err := os.OpenFile(files[i], os.O_WRONLY, 0)
			must(err)
			_, err = f.WriteAt([]byte("changed"), rnd.Int64N(200000))
			must(err)
			must(f.Sync())
			must(f.Close())
		case 3, 14, 15:
			must(os.Truncate(files[i], rnd.Int64N(30000)))
			sync(files[i])
		case 4, 16, 17:
			to := files[i] + "-renamed"
			must(os.Rename(files[i], to))
			files[i] = to
			sync(to)
		case 5, 18:
			must(os.Link(files[i], fmt.Sprintf("%s-%x", files[i], rnd.Uint32())))
			sync(files[i])
		case 7:
			must(os.Symlink("target", fmt.Sprintf("%s-%x", files[i], rnd.Uint32())))
			sync(files[i])
		case 8:
			must(os.Mkdir(fmt.Sprintf("%s-%x", files[i], rnd.Uint32()), 0o755))
			sync(files[i])
		case 9:
			must(unix.Mknod(fmt.Sprintf("%s-%x", files[i], rnd.Uint32()), unix.S_IFCHR|0o600, int(unix.Mkdev(10, 300))))
			sync(files[i])
		case 6, 19, 20:
			must(os.Remove(files[i]))
			files = append(files[:i], files[i+1:]...)
			sync(files[rnd.IntN(len(files))])
		}
	}
}

// syncDir writes out the filesystem that holds dir.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
