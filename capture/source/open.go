package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OpenFile opens the file or block device that a person named. References
// inside it are confined to the tree of the directory it is named in and to
// opts.FollowBacking; a block device and a file in "/" have no tree of their
// own, because theirs would be every disk or every file of the host.
//
// Errors: fs.ErrNotExist, fs.ErrPermission, ErrNotDisk, wrapped with the path.
func OpenFile(path string, opts Options) (*File, error) {
	// O_NONBLOCK: a pipe must be refused, not waited for.
	osf, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, plainOpenError(path, err)
	}
	f, err := newFile(osf, path)
	if err != nil {
		osf.Close()
		return nil, err
	}
	if f.scope, err = newScope(path, f.device, opts); err != nil {
		osf.Close()
		return nil, err
	}
	if f.dir, err = realDir(path); err != nil {
		osf.Close()
		return nil, err
	}
	return f, nil
}

// plainOpenError drops the "open" of a PathError: the caller says what failed.
func plainOpenError(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// newFile learns the sort and size of an open file, without scope and dir.
func newFile(osf *os.File, name string) (*File, error) {
	info, err := osf.Stat()
	if err != nil {
		return nil, plainOpenError(name, err)
	}
	f := &File{osf: osf, name: name, info: info}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		f.size = info.Size()
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		f.device = true
		// The kernel answers a seek to the end of a block device with its size.
		if f.size, err = osf.Seek(0, io.SeekEnd); err != nil {
			return nil, plainOpenError(name, err)
		}
	case mode.IsDir():
		return nil, fmt.Errorf("%s: is a directory: %w", name, ErrNotDisk)
	default:
		return nil, fmt.Errorf("%s: %w", name, ErrNotDisk)
	}
	return f, nil
}
