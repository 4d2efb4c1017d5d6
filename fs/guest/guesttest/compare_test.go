package guesttest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest/ext4"
)

// recorder takes failures down instead of failing.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Error(args ...any) { r.failures = append(r.failures, fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// TestCompareNotices changes one thing of a mounted filesystem behind the
// reader's back: the comparison must see each.
func TestCompareNotices(t *testing.T) {
	image := Mkfs(t, 16<<20, "mkfs.ext4", "-q", "-F")
	Mounted(t, image, func(dir string) { PopulateFew(t, dir, 3) })
	fs := OpenImage(t, image, Opener(ext4.Open))
	for name, change := range map[string]func(dir string) error{
		"nothing": func(string) error { return nil },
		"content": func(dir string) error { return rewrite(dir + "/sizes/s61") },
		"mode":    func(dir string) error { return os.Chmod(dir+"/sizes/s1", 0o600) },
		"owner":   func(dir string) error { return os.Lchown(dir+"/sizes/s150", 7, 8) },
		"time":    func(dir string) error { return os.Chtimes(dir+"/sizes/s3000", time.Unix(5, 6), time.Unix(5, 6)) },
		"name":    func(dir string) error { return os.Rename(dir+"/many/name-of-a-file-007", dir+"/many/renamed") },
		"removed": func(dir string) error { return os.Remove(dir + "/device") },
		"xattr":   func(dir string) error { return unix.Setxattr(dir+"/acl", "user.dir", []byte("y"), 0) },
		"hole":    func(dir string) error { return os.Truncate(dir+"/preallocated", 1<<20) },
	} {
		dir, unmount := Mount(t, Copy(t, image))
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		r := &recorder{TB: t}
		CompareTree(r, fs, dir)
		if (len(r.failures) == 0) != (name == "nothing") {
			t.Errorf("%s changed: %q", name, r.failures)
		}
		unmount()
	}
}

// rewrite changes a file's content, and none of its attributes.
func rewrite(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte("other"), 3); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

// TestPatches reads changed bytes back where they were put.
func TestPatches(t *testing.T) {
	m := &memory{image: []byte("abcdefgh")}
	m.put(2, 'X')
	m.put(7, 'Y')
	m.put(8, 'Z') // beyond the end
	m.put(2, 'W')
	m.settle()
	p := make([]byte, 10)
	if n, err := m.ReadAt(p, 1); n != 7 || err == nil || string(p[:n]) != "bXdefgY" {
		t.Errorf("%d, %v, %q", n, err, p)
	}
	if n, err := m.ReadAt(p[:2], 2); n != 2 || err != nil || p[1] != 'd' {
		t.Errorf("%d, %v, %q", n, err, p)
	}
}
