package guesttest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// workload does random things to a mounted filesystem.
type workload struct {
	t     testing.TB
	rnd   *rand.Rand
	dirs  []string // at least the root
	files []string // regular ones
}

// newWorkload goes on with what is in the filesystem.
func newWorkload(t testing.TB, dir string, rnd *rand.Rand) *workload {
	w := &workload{t: t, rnd: rnd}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != "lost+found":
			w.dirs = append(w.dirs, path)
		case d.Type().IsRegular():
			w.files = append(w.files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run does n things, or fewer when the filesystem is full, and syncs one file
// so that there is something to recover.
func (w *workload) run(n int) {
	for range n {
		err := w.step()
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			w.t.Fatalf("workload: %v", err)
		}
	}
	if len(w.files) > 0 {
		w.sync(w.pick())
	}
}

func (w *workload) pick() string { return w.files[w.rnd.IntN(len(w.files))] }

func (w *workload) name(prefix string) string {
	name := fmt.Sprintf("%s%08x%s", prefix, w.rnd.Uint32(), strings.Repeat("z", w.rnd.IntN(60)))
	return filepath.Join(w.dirs[w.rnd.IntN(len(w.dirs))], name)
}

func (w *workload) bytes(sizes ...int) []byte {
	b := make([]byte, sizes[w.rnd.IntN(len(sizes))])
	for i := range b {
		b[i] = byte(w.rnd.Uint32())
	}
	return b
}

// step does one thing.
func (w *workload) step() error {
	op := w.rnd.IntN(100)
	switch {
	case op < 38 || len(w.files) < 20:
		return w.create()
	case op < 53:
		return w.remove()
	case op < 60:
		return w.mkdir()
	case op < 70:
		return w.rename()
	case op < 78:
		return w.overwrite()
	case op < 82:
		return os.Truncate(w.pick(), w.rnd.Int64N(50000))
	case op < 88:
		return unix.Setxattr(w.pick(), fmt.Sprintf("user.a%d", w.rnd.IntN(30)), w.bytes(5, 80, 900), 0)
	case op < 91:
		return os.Symlink(strings.Repeat("t", []int{5, 50, 200, 800}[w.rnd.IntN(4)]), w.name("s"))
	case op < 94:
		return os.Link(w.pick(), w.name("h"))
	case op < 97:
		return w.sync(w.pick())
	}
	if w.rnd.IntN(5) == 0 {
		return syncFilesystem(w.dirs[0])
	}
	return os.Chmod(w.pick(), os.FileMode(w.rnd.IntN(0o1000)))
}

func (w *workload) create() error {
	path := w.name("f")
	if err := os.WriteFile(path, w.bytes(0, 10, 500, 5000, 70000), 0o644); err != nil {
		return err
	}
	w.files = append(w.files, path)
	return nil
}

func (w *workload) remove() error {
	i := w.rnd.IntN(len(w.files))
	path := w.files[i]
	w.files = append(w.files[:i], w.files[i+1:]...)
	return os.Remove(path)
}

func (w *workload) mkdir() error {
	path := w.name("d")
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	w.dirs = append(w.dirs, path)
	return nil
}

func (w *workload) rename() error {
	i := w.rnd.IntN(len(w.files))
	to := w.name("r")
	if err := os.Rename(w.files[i], to); err != nil {
		return err
	}
	w.files[i] = to
	return nil
}

func (w *workload) overwrite() error {
	f, err := os.OpenFile(w.pick(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(w.bytes(3000), w.rnd.Int64N(200000))
	return err
}

func (w *workload) sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
