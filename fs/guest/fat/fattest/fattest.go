// Package fattest holds what the tests of FAT and exFAT share: a tree to put
// into an image, and its comparison with what a reader sees.
package fattest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// Source makes a tree for an image: odd and long names, sizes at the edges, a
// directory of many files, a deep one and an empty one.
func Source(t testing.TB, many int) string {
	t.Helper()
	dir := t.TempDir()
	rnd := rand.NewChaCha8([32]byte{1})
	put := func(path string, size int) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		rnd.Read(b)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Date(1981+size%100, time.Month(1+size%12), 1+size%28, size%24, size%60, size%60, 0, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"SHORT.TXT", "lower.txt", "Mixed Case.text", "no extension", "a.b.c.d", "émile.txt", "日本語.txt",
		"thirteen char", "twenty-six characters here", strings.Repeat("n", 200) + ".long", "UPPER.low", "lower.UPP", "~tilde~1.txt", "sp ace.tx t", "+,;=[].txt"} {
		put("odd/"+name, 100+i)
	}
	for _, size := range []int{0, 1, 511, 512, 513, 1023, 1024, 2048, 4095, 4096, 4097, 65535, 65536, 65537, 300_000} {
		put(fmt.Sprint("sizes/s", size), size)
	}
	for i := range many {
		put(fmt.Sprintf("many/a file with number %d", i), i%3)
	}
	put("deep/1/2/3/4/5/6/7/8/9/leaf", 10)
	if err := os.Mkdir(dir+"/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Options say what the filesystem keeps.
type Options struct {
	Times    time.Duration // how fine
	ReadOnly string        // name of the file that is marked so
}

// Mounted mounts an exFAT image by exfat-fuse, calls fn and unmounts it.
func Mounted(t testing.TB, image string, fn func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	loop := strings.TrimSpace(guesttest.Run(t, "losetup", "--find", "--show", image))
	defer guesttest.Run(t, "losetup", "-d", loop)
	guesttest.Run(t, "mount.exfat-fuse", "-o", "umask=0", loop, dir)
	defer func() {
		guesttest.Unmount(t, dir)
		for range 600 { // its process may have it open for a moment still
			if out, _ := exec.Command("fuser", loop).Output(); len(bytes.TrimSpace(out)) == 0 {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("the mount of %s never ended", image)
	}()
	fn(dir)
}

// Compare holds the reader's tree against a directory: names, look-ups, sizes,
// times of change and content.
func Compare(t testing.TB, fs guest.Filesystem, dir string, o Options) {
	t.Helper()
	seen := map[string]guest.Node{}
	var walk func(path string, n guest.Node)
	walk = func(path string, n guest.Node) {
		err := fs.ReadDir(t.Context(), n, 0, func(e guest.Entry) bool {
			seen[path+e.Name] = e.Node
			if m, err := fs.Lookup(t.Context(), n, e.Name); err != nil || m != e.Node {
				t.Errorf("lookup of %s%s: %d, %v", path, e.Name, m, err)
			}
			if e.Type == guest.Directory {
				walk(path+e.Name+"/", e.Node)
			}
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	walk("", fs.Root())
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel := path[len(dir)+1:]
		n, ok := seen[rel]
		delete(seen, rel)
		if !ok {
			t.Errorf("%s: missing", rel)
			return nil
		}
		compareFile(t, fs, n, path, info, o)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen {
		t.Errorf("%s: not in the tree", name)
	}
}

func compareFile(t testing.TB, fs guest.Filesystem, n guest.Node, path string, info os.FileInfo, o Options) {
	t.Helper()
	a, err := fs.Stat(t.Context(), n)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if info.IsDir() {
		if a.Type != guest.Directory || a.Perm != 0o755 || a.Size == 0 {
			t.Errorf("%s: %+v", path, a)
		}
		return
	}
	perm := uint16(0o755)
	if info.Name() == o.ReadOnly {
		perm = 0o555
	}
	if want := info.ModTime().UTC().Truncate(o.Times); !a.Mtime.Equal(want) {
		t.Errorf("%s: time %v, want %v", path, a.Mtime, want)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.Type != guest.Regular || a.Size != int64(len(want)) || a.Perm != perm || a.Links != 1 {
		t.Errorf("%s: %+v", path, a)
	}
	got := make([]byte, len(want)+3)
	m, err := fs.ReadAt(t.Context(), n, got, 0)
	if !errors.Is(err, io.EOF) || !bytes.Equal(got[:m], want) {
		t.Errorf("%s: %d bytes of %d, %v", path, m, len(want), err)
	}
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	for range 5 {
		if len(want) == 0 {
			break
		}
		off := rnd.IntN(len(want))
		p := make([]byte, 1+rnd.IntN(len(want)-off))
		if _, err := fs.ReadAt(t.Context(), n, p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
			t.Errorf("%s: %d bytes at %d: %v", path, len(p), off, err)
		}
	}
}
