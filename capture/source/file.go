package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// SectorSize is the smallest unit that virtual machines write.
const SectorSize = 512

// File is one open file of a source: the named image, or one that an image
// refers to. A format package reads its tables through it and opens the files
// that the image names with OpenRelated or OpenDisk, which confine them.
//
// Who closes: Open of a format package takes the File over when it succeeds,
// its Disk closes it then; when it fails the caller still owns it.
//
// All methods but Close are safe for concurrent use.
type File struct {
	osf    *os.File
	name   string      // path as a person would write it
	dir    string      // absolute directory, no symbolic links, that relative references start from
	info   fs.FileInfo // tells whether two names are one file
	size   int64       // bytes, as of the opening
	device bool
	scope  *scope // shared by all files of one source
	parent *File  // the file that refers to this one; nil for the named image
	depth  int    // number of parents
	past   past
}

var _ io.ReaderAt = (*File)(nil)

// Name is the path of the file.
func (f *File) Name() string { return f.name }

// Size is the number of bytes when the file was opened.
func (f *File) Size() int64 { return f.size }

// IsDevice tells whether the file is a block device.
func (f *File) IsDevice() bool { return f.device }

// ReadAt reads bytes of the file as they lie there.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	n := f.past.read(f.osf, p, off)
	if n == len(p) {
		return n, nil
	}
	more, err := f.osf.ReadAt(p[n:], off+int64(n))
	return n + more, err
}

// Close closes this file only, not those that were opened through it.
func (f *File) Close() error { return errors.Join(f.past.close(), f.osf.Close()) }

// ReadFull fills p from off. A read beyond the end of the file is a
// *CorruptError: what names the structure that is cut off.
func (f *File) ReadFull(p []byte, off int64, what string) error {
	if off < 0 || off > f.size || int64(len(p)) > f.size-off {
		return f.Corrupt(off, "%s of %d bytes reaches beyond the end of the file (%d bytes): the image is truncated", what, len(p), f.size)
	}
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return f.Corrupt(off+int64(n), "the file shrank while it was read (%s)", what)
	}
	return fmt.Errorf("read %s of %s at byte %d: %w", what, f.name, off, err)
}

// ReadPadded fills p from off like ReadFull, but what lies beyond the end of
// the file is zeros: writers leave the last cluster of an image short when its
// tail was never written. They write whole sectors, so a file that ends inside
// of a sector, or before off, was cut off and is a *CorruptError.
func (f *File) ReadPadded(p []byte, off int64, what string) error {
	if off < 0 || off >= f.size || int64(len(p)) <= f.size-off || f.size%SectorSize != 0 {
		return f.ReadFull(p, off, what)
	}
	n := f.size - off
	clear(p[n:])
	return f.ReadFull(p[:n], off, what)
}

// Corrupt makes a *CorruptError for a byte of this file.
func (f *File) Corrupt(off int64, format string, args ...any) error {
	return &CorruptError{File: f.name, Off: off, Reason: fmt.Sprintf(format, args...)}
}

// Unsupported makes an *UnsupportedError for this file.
func (f *File) Unsupported(feature, remedy string) error {
	return &UnsupportedError{File: f.name, Feature: feature, Remedy: remedy}
}

// Extent describes the run of the file at off, in [0, Size). A block device
// and a file system that cannot tell are all data.
func (f *File) Extent(off int64) (Extent, error) {
	if off < 0 || off >= f.size {
		return Extent{}, fmt.Errorf("extent of %s at byte %d: outside of its %d bytes", f.name, off, f.size)
	}
	rest := f.size - off
	if f.device {
		return Extent{Length: rest, Data: true}, nil
	}
	// Seeking moves a file position that nobody uses: all reads are preads.
	data, err := f.osf.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return f.holeToEnd(off)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return Extent{Length: rest, Data: true}, nil
	case err != nil:
		return Extent{}, fmt.Errorf("find data of %s at byte %d: %w", f.name, off, err)
	case data > off:
		return Extent{Length: min(data-off, rest)}, nil
	}
	hole, err := f.osf.Seek(off, unix.SEEK_HOLE)
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return Extent{}, fmt.Errorf("find a hole of %s at byte %d: %w", f.name, off, err)
	}
	if err != nil || hole <= off { // changed between the two calls: reading is always right
		hole = math.MaxInt64
	}
	return Extent{Length: min(hole-off, rest), Data: true}, nil
}

// holeToEnd answers "no data from off on", which the kernel also says of a
// file that was cut off meanwhile: that must not become zeros.
func (f *File) holeToEnd(off int64) (Extent, error) {
	info, err := f.osf.Stat()
	if err != nil {
		return Extent{}, fmt.Errorf("stat %s: %w", f.name, err)
	}
	if info.Size() < f.size {
		return Extent{}, f.Corrupt(info.Size(), "the file shrank from %d bytes while it was read", f.size)
	}
	return Extent{Length: f.size - off}, nil
}
