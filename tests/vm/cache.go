package vm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// recipe is how one cached file is made. Whatever decides its bytes must be in
// text: the cached name carries its hash.
type recipe struct {
	name string // "debian", "rootfs", ...
	ext  string // ".raw", ".tar"
	text string
	make func(work, out string) error // writes file out, may use directory work
}

// cacheDir is where disks are kept between runs, outside of the source tree.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir() // obeys XDG_CACHE_HOME
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "holdfast-tests")
	return dir, os.MkdirAll(dir, 0o755)
}

// ensure returns the recipe's cached file and makes it when it is absent. The
// first of several processes makes it, the others wait on the lock.
func ensure(r recipe) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%.6x", r.name, sha256.Sum256([]byte(r.text)))
	path := filepath.Join(dir, name+r.ext)
	if _, err := os.Stat(path); err == nil {
		return path, nil // no lock: a name that is there is complete
	}
	unlock, err := lock(filepath.Join(dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // made while we waited
	}
	if err := makeLocked(r, filepath.Join(dir, name+".work"), path); err != nil {
		return "", err
	}
	return path, removeOld(dir, r, path)
}

// keepOld is how long the disks of other recipes stay: another checkout may
// still use them.
const keepOld = 7 * 24 * time.Hour

// removeOld deletes what other recipes of the same name made long ago. Whoever
// has such a file open keeps it.
func removeOld(dir string, r recipe, current string) error {
	old, err := filepath.Glob(filepath.Join(dir, r.name+"-*"+r.ext))
	if err != nil {
		return err
	}
	for _, path := range old {
		info, err := os.Stat(path)
		if path == current || err != nil || time.Since(info.ModTime()) < keepOld {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// makeLocked runs the recipe in directory work and renames its result to path.
// The lock is held, so whatever is in work was left by a dead builder.
func makeLocked(r recipe, work, path string) error {
	if err := removeWork(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	defer removeWork(work)
	out := filepath.Join(work, "out"+r.ext)
	if err := r.make(work, out); err != nil {
		return err
	}
	if err := syncFile(out); err != nil {
		return err
	}
	if err := os.Chmod(out, 0o444); err != nil {
		return err
	}
	return os.Rename(out, path)
}

// removeWork unmounts what a builder mounted below work, then deletes it. It
// refuses to delete through a mount.
func removeWork(work string) error {
	if err := unmountBelow(work); err != nil {
		return err
	}
	return os.RemoveAll(work)
}

// lock waits for an exclusive lock on file path. A dead holder's lock is free.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// syncFile makes a file durable before its final name says that it is whole.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
