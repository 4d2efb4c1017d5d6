package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ErrMounted says that a directory already bears a live holdfast mount.
var ErrMounted = errors.New("already mounted")

// maxDead bounds how many dead mounts are peeled off one directory.
const maxDead = 16

// prepareMountPoint resolves dir and proves that it may be mounted on. A mount
// whose process died is removed from it first.
func prepareMountPoint(dir string) (string, error) {
	path, err := resolve(dir)
	if err != nil {
		return "", fmt.Errorf("mount on %s: %w", dir, err)
	}
	for range maxDead {
		top, mounted, err := topMount(path)
		if err != nil {
			return "", fmt.Errorf("mount on %s: %w", dir, err)
		}
		if !mounted || top.fsType != fsType {
			return path, usable(path)
		}
		if alive(path) {
			return "", fmt.Errorf("mount on %s: %w (%s); unmount it first: umount %s", dir, ErrMounted, top.source, dir)
		}
		if err := detach(path); err != nil {
			return "", fmt.Errorf("mount on %s: remove the dead mount there: %w", dir, err)
		}
	}
	return "", fmt.Errorf("mount on %s: more than %d dead mounts there", dir, maxDead)
}

// resolve returns the absolute path of dir without symbolic links. A dead mount
// can't be looked at, so its directory is resolved instead.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path, err := filepath.EvalSymlinks(abs)
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
		return filepath.Join(parent, filepath.Base(abs)), err
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("no such directory; make it with: mkdir %s", dir)
	}
	return path, err
}

// usable refuses what is no directory, or holds files that a mount would hide.
func usable(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("mount on %s: not a directory", path)
	}
	if err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	defer f.Close()
	switch names, err := f.Readdirnames(1); {
	case len(names) > 0:
		return fmt.Errorf("mount on %s: the directory is not empty (it holds %q) and a mount would hide that; name an empty one", path, names[0])
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	return nil
}
