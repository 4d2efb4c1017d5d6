package guesttest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Mkfs makes an image of size bytes in the test's own directory and runs mkfs
// (a command and its arguments, to which the image's path is added) on it.
func Mkfs(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	Run(t, mkfs[0], append(mkfs[1:len(mkfs):len(mkfs)], path)...)
	return path
}

// Mount mounts the image through a loop device until the test ends, or until
// the function that it returns is called. Times of access are left alone.
// options are those of mount -o; "ro" makes the loop device read-only as well,
// with which some filesystems refuse to replay their journal.
func Mount(t testing.TB, image string, options ...string) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	all := strings.Join(append([]string{"loop", "noatime", "nodiratime"}, options...), ",")
	Run(t, "mount", "-o", all, image, dir)
	mounted := true
	unmount = func() {
		if !mounted {
			return
		}
		mounted = false
		Unmount(t, dir)
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// Unmount unmounts dir. While it is busy it is tried again, for a minute: a command that
// another test starts has, between fork and exec, all that this process had open there.
func Unmount(t testing.TB, dir string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("umount", dir).CombinedOutput()
		if err == nil {
			return
		}
		if !bytes.Contains(out, []byte("busy")) || time.Since(began) > time.Minute {
			t.Errorf("umount %s: %v\n%s", dir, err, out)
			_ = exec.Command("umount", "-l", dir).Run()
			return
		}
	}
}

// Mounted mounts the image for writing, calls fn and unmounts it.
func Mounted(t testing.TB, image string, fn func(dir string), options ...string) {
	t.Helper()
	dir, unmount := Mount(t, image, options...)
	fn(dir)
	unmount()
}

// Copy copies an image, holes and all, into the test's own directory.
func Copy(t testing.TB, image string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	Run(t, "cp", "--sparse=always", image, path)
	return path
}
