package ntfs

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

var open = guesttest.Opener(Open)

// mkntfs makes a volume of size bytes in the test's own directory.
func mkntfs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	return guesttest.Mkfs(t, size, append([]string{"mkntfs", "-q", "-Q", "-F"}, args...)...)
}

// mount mounts an image with ntfs-3g, in user space, until the test ends or the
// function that it returns is called; then all is written.
func mount(t testing.TB, image string, options ...string) (dir string, unmount func()) {
	t.Helper()
	dir, _, unmount = serve(t, image, options...)
	return dir, unmount
}

// serve is mount, with the process that serves it.
func serve(t testing.TB, image string, options ...string) (dir string, server *os.Process, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	var said bytes.Buffer
	all := strings.Join(append([]string{"no_detach", "noatime"}, options...), ",")
	cmd := exec.Command("ntfs-3g", "-o", all, image, dir)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		guesttest.Unmount(t, dir)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("ntfs-3g: %v\n%s", err, said.String())
			}
		case <-time.After(2 * time.Minute):
			_ = cmd.Process.Kill()
			t.Error("ntfs-3g did not end")
		}
	}
	for start := time.Now(); !isMounted(t, dir); {
		select {
		case err := <-ended:
			t.Fatalf("ntfs-3g: %v\n%s", err, said.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(start) > 2*time.Minute {
			_ = cmd.Process.Kill()
			t.Fatal("ntfs-3g does not mount")
		}
	}
	t.Cleanup(unmount)
	return dir, cmd.Process, unmount
}

func isMounted(t testing.TB, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(table), " "+dir+" ")
}

// mounted mounts for writing, calls fn and unmounts.
func mounted(t testing.TB, image string, fn func(dir string), options ...string) {
	t.Helper()
	dir, unmount := mount(t, image, options...)
	fn(dir)
	unmount()
}

// listedXattrs leaves out what ntfs-3g gives but does not list.
type listedXattrs struct{ guest.Filesystem }

func (l listedXattrs) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	all, err := l.Filesystem.Xattrs(ctx, n)
	maps.DeleteFunc(all, func(name string, _ []byte) bool { return !strings.HasPrefix(name, "user.") })
	return all, err
}

// compare compares a volume with ntfs-3g's mount of it.
func compare(t testing.TB, image string) guest.Filesystem {
	t.Helper()
	fs := guesttest.OpenImage(t, image, open)
	dir, unmount := mount(t, image, "ro", "streams_interface=xattr")
	guesttest.CompareTreeBut(t, listedXattrs{fs}, dir, guesttest.Options{NoFiemap: true, NoGeneration: true, Skip: func(path string) bool {
		switch path {
		case "times/t2", "times/t4", "times/t13": // ntfs-3g loses nanoseconds before 1970: see compareHidden
		case "junction": // ntfs-3g gives an absolute target
		case "whole": // ntfs-3g can't unpack it
		case "owned": // ntfs-3g does not know the owners of WSL
		default:
			return false
		}
		return true
	}})
	compareHidden(t, fs, dir)
	unmount()
	checkPlaces(t, fs, image)
	return fs
}

// compareHidden compares the xattrs that ntfs-3g does not list, and the times
// as they lie on disk, that of birth among them.
func compareHidden(t testing.TB, fs guest.Filesystem, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		n := lookup(t, fs, rel)
		all, err := fs.Xattrs(t.Context(), n)
		if err != nil {
			return err
		}
		for name, value := range all {
			if d.Type() == os.ModeSymlink && !strings.HasPrefix(name, "system.") {
				continue // ntfs-3g sets these and does not give them
			}
			if want := xattr(t, path, name); want != string(value) && name != xattrOmitted {
				t.Errorf("%.100q: %s is %.40x, ntfs-3g says %.40x", rel, name, value, want)
			}
		}
		for _, name := range []string{xattrACL, xattrReparse, xattrEA, xattrObjectID} {
			if _, ok := all[name]; !ok && xattr(t, path, name) != "" {
				t.Errorf("%.100q: %s is missing", rel, name)
			}
		}
		times := xattr(t, path, "system.ntfs_times") // birth, content, access, record
		if len(times) != 32 {
			t.Fatalf("%q: times of %d bytes", rel, len(times))
		}
		a, err := fs.Stat(t.Context(), n)
		for i, got := range []time.Time{a.Btime, a.Mtime, a.Atime, a.Ctime} {
			want := time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)
			units := int64(le.Uint64([]byte(times[8*i:])))
			want = time.Unix(want.Unix()+units/1e7, units%1e7*100)
			if !got.Equal(want) {
				t.Errorf("%.100q: time %d is %v, ntfs-3g says %v", rel, i, got, want)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// xattr reads one; "" when there is none.
func xattr(t testing.TB, path, name string) string {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, name, b)
	if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	return string(b[:max(n, 0)])
}

// checkPlaces reads each extent that has a place from the image itself.
func checkPlaces(t testing.TB, fs guest.Filesystem, image string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	checked := int64(0)
	err = fs.Files(t.Context(), func(n guest.Node, size int64, e guest.Extent) bool {
		length := min(e.Length, 1<<20)
		want, got := make([]byte, length), make([]byte, length)
		if _, err := f.ReadAt(want, e.Place); err != nil {
			t.Fatal(err)
		}
		if m, err := fs.ReadAt(t.Context(), n, got, e.Offset); int64(m) != length {
			t.Fatalf("node %d: %d, %v", n, m, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("node %d: %+v does not hold its bytes", n, e)
		}
		checked += length
		return !t.Failed()
	})
	if err != nil || checked == 0 {
		t.Errorf("files: %d bytes, %v", checked, err)
	}
}

// lookup follows a path.
func lookup(t testing.TB, fs guest.Filesystem, path string) guest.Node {
	t.Helper()
	n := fs.Root()
	if path == "." {
		return n
	}
	for name := range strings.SplitSeq(filepath.Clean(path), "/") {
		var err error
		if n, err = fs.Lookup(t.Context(), n, name); err != nil {
			t.Fatalf("%s: %q: %v", path, name, err)
		}
	}
	return n
}
