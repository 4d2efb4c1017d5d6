package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CloneInto is [Disk.Clone] for programs that are not tests.
func (d *Disk) CloneInto(dir string) (string, error) {
	dst := filepath.Join(dir, string(d.Kind)+".raw")
	if err := Copy(dst, d.Path); err != nil {
		return "", fmt.Errorf("clone %s: %w", d.Path, err)
	}
	return dst, nil
}

// Copy makes dst, which must not exist, a copy of file src with the same holes.
func Copy(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return out.Close()
	}
	err = errors.Join(out.Truncate(info.Size()), copyData(out, 0, in, info.Size()))
	return errors.Join(err, out.Close())
}

// copyData copies the data runs of in, size bytes long, to out at offset at.
func copyData(out *os.File, at int64, in *os.File, size int64) error {
	for off := int64(0); off < size; {
		start, err := in.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // holes to the end
		}
		if err != nil {
			return err
		}
		end, err := in.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		run := io.NewSectionReader(in, start, end-start)
		if _, err := io.Copy(io.NewOffsetWriter(out, at+start), run); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// CopyRange makes dst, which must not exist, of size bytes of a disk from off
// on.
func CopyRange(dst string, disk *os.File, off, size int64) error {
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = out.Truncate(size)
	for at := int64(0); at < size && err == nil; {
		var start, end int64
		if start, err = disk.Seek(off+at, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) || start >= off+size {
			err = nil
			break
		}
		if err == nil {
			end, err = disk.Seek(start, unix.SEEK_HOLE)
		}
		if err == nil {
			end = min(end, off+size)
			_, err = io.Copy(io.NewOffsetWriter(out, start-off), io.NewSectionReader(disk, start, end-start))
		}
		at = end - off
	}
	return errors.Join(err, out.Close())
}
