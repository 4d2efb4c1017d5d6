package media

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/media/odirect"
)

// PastCache returns f as a scrub reads it: reads whose offset, length and memory are
// multiples of 4096 come from the disk also where the page cache holds them, which
// proves what lies there and leaves the cache to others. All other reads, and those
// of a medium or a filesystem that has no such way, are f's own.
func PastCache(f File) io.ReaderAt {
	if d, ok := f.(*file); ok {
		return pastCache{d}
	}
	return f
}

type pastCache struct{ *file }

// ReadAt implements io.ReaderAt.
func (p pastCache) ReadAt(b []byte, off int64) (int, error) {
	fd := p.direct.open(p.File)
	if fd < 0 || !odirect.Fits(b, off) || p.direct.never.Load() {
		return p.file.ReadAt(b, off)
	}
	n, err := readDirect(fd, b, off, directAlign)
	switch {
	case isRefused(err):
		p.direct.never.Store(true)
		return p.file.ReadAt(b, off)
	case err != nil:
		return n, fmt.Errorf("read %d bytes at %d past the page cache: %w", len(b), off, err)
	case n < len(b): // the file's end, or fewer than could be had: the page cache knows
		more, err := p.file.ReadAt(b[n:], off+int64(n))
		return n + more, err
	}
	return n, nil
}

// isRefused reports whether the filesystem does not read so, rather than that the
// disk failed.
func isRefused(err error) bool { return err != nil && !errors.Is(err, unix.EIO) }
