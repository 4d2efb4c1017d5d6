package restore

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrExists says that the target is there and may not be overwritten.
var ErrExists = errors.New("it exists already; name another, or write over it with --overwrite")

// target is what a restore writes to.
type target struct {
	file     *os.File
	uncached *uncached // of a new file; nil: all goes through the page cache
	intake   *intake   // of one that exists
	path     string
	temp     string // the file's name until finish; "" for a target that existed
	fresh    bool   // reads as zeros all over
	device   bool
	size     int64
}

// openTarget opens a new file, or with overwrite what is there, for an image of
// size bytes.
func openTarget(path string, overwrite bool, size int64) (*target, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			return nil, errors.New("it is a symbolic link to nothing; remove the link, or name the file that it is to lead to")
		}
		return newFile(path, size)
	case err != nil:
		return nil, err
	case !overwrite:
		return nil, ErrExists
	case st.Mode().IsRegular():
		return existingFile(path, size)
	case st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0:
		return openDevice(path, size)
	}
	return nil, errors.New("it is neither a file nor a block device")
}

func newFile(path string, size int64) (*target, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+shorten(filepath.Base(path))+".restoring-*")
	if err != nil {
		return nil, err
	}
	t := &target{file: f, path: path, temp: f.Name(), fresh: true, size: size}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(fmt.Errorf("make a file of %d bytes: %w", size, err), t.abandon())
	}
	t.uncached = openUncached(f)
	return t, nil
}

// shorten leaves room in a file name of 255 bytes for what is put around it.
func shorten(name string) string { return name[:min(len(name), 200)] }

func existingFile(path string, size int64) (*target, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	// It gets its size in the end, when everything else has gone well.
	return &target{file: f, intake: newIntake(f), path: path, size: size}, nil
}

// openDevice opens a block device for exclusive use: the kernel refuses one
// that is mounted or otherwise held.
func openDevice(path string, size int64) (*target, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("the device is in use (mounted, or part of another device); free it first: %w", err)
	}
	if err != nil {
		return nil, err
	}
	have, err := f.Seek(0, io.SeekEnd)
	if err == nil && have < size {
		err = fmt.Errorf("the device has %d bytes and the image has %d", have, size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &target{file: f, intake: newIntake(f), path: path, device: true, size: size}, nil
}

// zeroed returns how far the target surely reads as zeros from off.
func (t *target) zeroed(off int64) int64 {
	if t.fresh {
		return math.MaxInt64
	}
	if t.device {
		return off
	}
	data, err := unix.Seek(int(t.file.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return math.MaxInt64 // no data follows
	}
	if err != nil {
		return off
	}
	return data
}

// finish makes the target durable and gives a new file its name.
func (t *target) finish() error {
	if !t.fresh && !t.device {
		// What is beyond the image goes, what is missing reads as zeros.
		if err := t.file.Truncate(t.size); err != nil {
			return errors.Join(fmt.Errorf("set its size to %d: %w", t.size, err), t.abandon())
		}
	}
	// Also for what went past the page cache: its blocks' places, and the
	// disk's own cache.
	if err := t.file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync: %w", err), t.abandon())
	}
	err := errors.Join(t.uncached.close(), t.intake.close())
	if t.uncached, t.intake = nil, nil; err != nil {
		return errors.Join(err, t.abandon())
	}
	if t.temp == "" {
		return t.file.Close()
	}
	if err := t.file.Close(); err != nil {
		return errors.Join(err, os.Remove(t.temp))
	}
	// Link, unlike rename, fails when a file of that name has come meanwhile.
	if err := os.Link(t.temp, t.path); errors.Is(err, iofs.ErrExist) {
		return errors.Join(ErrExists, os.Remove(t.temp))
	} else if err == nil {
		err = os.Remove(t.temp)
		return errors.Join(err, syncDir(t.path))
	}
	// A file system without hard links.
	if err := os.Rename(t.temp, t.path); err != nil {
		return errors.Join(err, os.Remove(t.temp))
	}
	return syncDir(t.path)
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// abandon gives the target up. A new file goes; one that existed is left as
// far as it got.
func (t *target) abandon() error {
	err := errors.Join(t.file.Close(), t.uncached.close(), t.intake.close())
	if t.temp != "" {
		err = errors.Join(err, os.Remove(t.temp))
	}
	return err
}
