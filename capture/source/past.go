package source

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/media/odirect"
)

// pastLeast is the shortest run that is read past the page cache: what is shorter is
// metadata, which is read again, or has neighbours that are wanted too.
const pastLeast = 256 << 10

// past reads the data of a file past the page cache, but for what that has already: a
// VM has just run on that disk. Its zero value is ready, and safe for concurrent use.
// Measured on a second capture of 0.66 GB, cold, six pairs: 0.52 s and 0.35 s of CPU,
// through the cache 0.66 and 0.50.
type past struct {
	once sync.Once
	file *os.File    // nil: the file can't be read so
	off  atomic.Bool // the file system took the open and refuses the read
}

// read reads the first part of p past the page cache and returns how much that is.
// What is left, for whatever reason, is to be read through the cache, which tells the
// error.
func (s *past) read(f *os.File, p []byte, off int64) int {
	p = p[:len(p)&^(odirect.Unit-1)]
	if len(p) < pastLeast || !odirect.Fits(p, off) || s.off.Load() {
		return 0
	}
	s.once.Do(func() {
		if file, err := odirect.Open(f.Fd()); err == nil {
			s.file = file
		}
	})
	if s.file == nil {
		return 0
	}
	if cached, err := odirect.Cached(f.Fd(), off, int64(len(p))); err != nil || cached >= int64(len(p))/2 {
		return 0
	}
	n, err := s.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
		s.off.Store(true)
	}
	return n
}

func (s *past) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
