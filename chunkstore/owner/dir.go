package owner

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// storeDir is an opened store directory. Sockets in it are reached through
// the descriptor, because a Unix socket's path may have 107 bytes only and a
// store's path may have more. It is safe for concurrent use.
type storeDir struct {
	path string // for messages
	f    *os.File
}

func openDir(path string) (*storeDir, error) {
	f, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &storeDir{path: path, f: f}, nil
}

// with calls fn with the directory's descriptor, which stays open meanwhile:
// a number that is kept could name another directory after Close.
func (d *storeDir) with(fn func(fd int) error) error {
	c, err := d.f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// short returns a path of name in directory fd that fits a socket address.
func short(fd int, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name) }

// open opens name in the directory, never through a symbolic link.
func (d *storeDir) open(name string, flags int, mode uint32) (*os.File, error) {
	var f *os.File
	err := d.with(func(dir int) error {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
		if err != nil {
			return &os.PathError{Op: "open", Path: d.path + "/" + name, Err: err}
		}
		f = os.NewFile(uintptr(fd), d.path+"/"+name)
		return nil
	})
	return f, err
}

// remove removes name from the directory; that it is not there is no error.
func (d *storeDir) remove(name string) error {
	return d.with(func(dir int) error {
		if err := unix.Unlinkat(dir, name, 0); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "remove", Path: d.path + "/" + name, Err: err}
		}
		return nil
	})
}

func (d *storeDir) close() error { return d.f.Close() }
