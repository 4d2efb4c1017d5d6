package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Access says how a root filesystem is mounted.
type Access bool

const (
	ReadWrite Access = false
	ReadOnly  Access = true
)

// RootExtent returns where the root filesystem lies on a raw disk: offset and
// size in bytes.
func RootExtent(t testing.TB, raw string) (off, size int64) {
	t.Helper()
	off, size, err := findRoot(raw)
	if err != nil {
		t.Fatal(err)
	}
	return off, size
}

// MountRoot mounts the root filesystem of a raw disk (a file anywhere, also in
// a FUSE mount) through a loop device and returns the mount point. It is
// unmounted when the test ends, however it ends; Unmount does so before.
func MountRoot(t testing.TB, raw string, access Access) string {
	t.Helper()
	mnt, err := mountRoot(raw, access)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmountRoot(mnt); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

// Unmount unmounts what MountRoot mounted, so that the disk's file is whole.
func Unmount(t testing.TB, mnt string) {
	t.Helper()
	if err := unmountRoot(mnt); err != nil {
		t.Fatal(err)
	}
}

// mountRoot mounts below the cache directory, never below a test's own: what
// deletes a test's directory must not find a mounted disk in it. The name
// carries the process id, so that a later run clears up after a killed one.
func mountRoot(raw string, access Access) (mnt string, err error) {
	if err := needRoot("mounting a disk"); err != nil {
		return "", err
	}
	off, size, err := findRoot(raw)
	if err != nil {
		return "", err
	}
	opts := fmt.Sprintf("loop,offset=%d,sizelimit=%d", off, size)
	if access == ReadOnly {
		opts += ",ro"
	}
	if isXFS(raw, off) {
		opts += ",nouuid" // a clone has its origin's UUID; both may be mounted
	}
	dir, err := mountDir()
	if err != nil {
		return "", err
	}
	sweepOnce.Do(func() { sweepMounts(dir) })
	if mnt, err = os.MkdirTemp(dir, strconv.Itoa(os.Getpid())+"-"); err != nil {
		return "", err
	}
	if err := mountLoop(raw, mnt, opts); err != nil {
		return "", errors.Join(err, os.Remove(mnt))
	}
	return mnt, nil
}

func mountDir() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "mnt")
	return dir, os.MkdirAll(dir, 0o755)
}

func isXFS(raw string, off int64) bool {
	f, err := os.Open(raw)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = f.ReadAt(magic, off)
	return err == nil && string(magic) == "XFSB"
}

// mountLoop runs mount, again when another process took the loop device that
// was free a moment ago.
func mountLoop(file, mnt, opts string) error {
	for try := 0; ; try++ {
		out, err := run("mount", "-o", opts, file, mnt)
		if err == nil || try == 10 || !strings.Contains(out, "loop device") {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func unmountRoot(mnt string) error {
	if err := unmount(mnt); err != nil {
		return err
	}
	if err := os.Remove(mnt); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unmount unmounts mnt if something is mounted there. When it stays busy for
// 3 s, it is detached all the same and the error says who holds it.
func unmount(mnt string) error {
	for try := 0; ; try++ {
		err := unix.Unmount(mnt, 0)
		if err == nil || err == unix.EINVAL || err == unix.ENOENT { // EINVAL: not a mount point
			return nil
		}
		if err != unix.EBUSY || try == 30 {
			holders, _ := run("fuser", "-vm", mnt)
			unix.Unmount(mnt, unix.MNT_DETACH)
			return fmt.Errorf("unmount %s: %w\n%s", mnt, err, holders)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// unmountBelow detaches every mount at or below dir, deepest first.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	return nil
}

// mountsBelow lists mount points at or below dir in the order of mounting.
func mountsBelow(dir string) (found []string, err error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		mnt := fields[4] // proc(5); spaces are escaped, and our paths have none
		if mnt == dir || strings.HasPrefix(mnt, dir+"/") {
			found = append(found, mnt)
		}
	}
	return found, nil
}

var sweepOnce sync.Once

// sweepMounts detaches what killed processes left mounted. It is best effort:
// a leftover harms nobody but the person who wonders about it.
func sweepMounts(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		text, _, _ := strings.Cut(e.Name(), "-")
		pid, err := strconv.Atoi(text)
		if err != nil || pid <= 0 || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		path := filepath.Join(dir, e.Name())
		unmountBelow(path)
		os.Remove(path) // never RemoveAll: it might still be a disk
	}
}
