package files

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/fs/guest"
)

// Of reading a file front to back: how much at a time, and ahead of that.
const (
	readStep  = 1 << 20
	readAhead = 4 << 20
)

// runs calls fn for the file's data in order, holes left out, at most to the
// file's size.
func runs(ctx context.Context, fs guest.Filesystem, n guest.Node, size int64, fn func(off, length int64) error) error {
	for at := int64(0); at < size; {
		from, to := size, size
		err := fs.Extents(ctx, n, at, func(e guest.Extent) bool {
			end := min(e.Offset+e.Length, size)
			if e.Hole || end <= at || e.Length <= 0 {
				return e.Offset < size
			}
			from, to = max(e.Offset, at), end
			return false
		})
		if err != nil {
			return err
		}
		if from >= size {
			return nil
		}
		if to <= at {
			return guest.Corrupt("an extent at %d ends at %d", from, to)
		}
		if err := fn(from, to-from); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// Copy writes the file's content to w: its data at their places, holes left out.
// moved is told of every step.
func (s *Space) Copy(ctx context.Context, p Place, size int64, w io.WriterAt, moved func(n int64)) error {
	fs, err := s.Open(ctx, p)
	if err != nil {
		return err
	}
	buf := make([]byte, min(readStep, size))
	return runs(ctx, fs, p.Node, size, func(off, length int64) error {
		return s.steps(ctx, p, buf, off, length, func(b []byte, at int64) error {
			moved(int64(len(b)))
			_, err := w.WriteAt(b, at)
			return err
		})
	})
}

// Stream writes the file's content to w, holes as zeros.
func (s *Space) Stream(ctx context.Context, p Place, size int64, w io.Writer) error {
	return s.steps(ctx, p, make([]byte, min(readStep, size)), 0, size, func(b []byte, _ int64) error {
		_, err := w.Write(b)
		return err
	})
}

// steps reads a range of a file and gives it to fn, with reads ahead.
func (s *Space) steps(ctx context.Context, p Place, buf []byte, off, length int64, fn func(b []byte, at int64) error) error {
	asked := off
	for end := off + length; off < end; {
		n := min(int64(len(buf)), end-off)
		if asked < off+n+readAhead/2 && n < end-off {
			from := max(asked, off+n)
			asked = min(off+n+readAhead, end)
			s.Prefetch(ctx, p, from, asked)
		}
		fs, err := s.Open(ctx, p) // it may have been closed since
		if err != nil {
			return err
		}
		got, err := fs.ReadAt(ctx, p.Node, buf[:n], off)
		if int64(got) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %d bytes at %d: %w", n, off, err)
		}
		if err := fn(buf[:n], off); err != nil {
			return err
		}
		off += n
	}
	return nil
}
