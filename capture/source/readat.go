package source

import (
	"fmt"
	"io"
)

// ReadAt keeps the contract of Disk.ReadAt for a disk of size bytes: it calls
// fill once with the part of p that lies inside of the disk, and never with an
// empty one. When fill fails no byte of p is valid.
func ReadAt(p []byte, off, size int64, fill func(p []byte, off int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at byte %d: negative offset", off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), size-off)
	if err := fill(p[:n], off); err != nil {
		return 0, err
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// CheckExtent is the check of Disk.Extent's argument.
func CheckExtent(off, size int64) error {
	if off < 0 || off >= size {
		return fmt.Errorf("extent at byte %d: outside of the disk of %d bytes", off, size)
	}
	return nil
}

// ReadBelow fills p from the image below an overlay; nil is none. Beyond its end
// are zeros.
func ReadBelow(below Disk, p []byte, off int64) error {
	n := 0
	if below != nil && off < below.Size() {
		n = int(min(int64(len(p)), below.Size()-off))
		if _, err := below.ReadAt(p[:n], off); err != nil {
			return err
		}
	}
	clear(p[n:])
	return nil
}
