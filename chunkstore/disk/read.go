package disk

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// readStep bounds what one read holds in chunks at a time.
const readStep = 1 << 20

// segments are what ReadAtContext borrows for a read of several chunks.
var segments = sync.Pool{New: func() any { s := make([]Segment, 0, 32); return &s }}

// ReadAtContext fills p with the disk's bytes from off; holes are zeros. It
// reads all of p or fails: off+len(p) <= Size. On an error p's content is
// undefined. It copies; View does not.
func (r *Reader) ReadAtContext(ctx context.Context, p []byte, off int64) error {
	if err := r.checkRange(off, len(p)); err != nil {
		return err
	}
	if done, err := r.readOne(ctx, p, off); done {
		if err != nil {
			return fmt.Errorf("read disk, %d bytes at %d: %w", len(p), off, err)
		}
		return nil
	}
	for len(p) > 0 {
		n := min(len(p), readStep)
		if err := r.readSegments(ctx, p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readOne serves a read that lies in one extent, which most do, without
// borrowing anything. It reports false when the read is not of that kind.
func (r *Reader) readOne(ctx context.Context, p []byte, off int64) (bool, error) {
	from := int(off % RegionSize)
	if len(p) == 0 || len(p) > RegionSize-from {
		return len(p) == 0, nil
	}
	m, err := r.region(ctx, r.find, off/RegionSize)
	if err != nil {
		return true, err
	}
	if m == nil {
		clear(p)
		return true, nil
	}
	i, in := m.find(from)
	if !in {
		return false, nil
	}
	from, want := from-m.off(i), m.len(i)
	if from+len(p) > want {
		return false, nil
	}
	c, err := r.chunks.Acquire(ctx, m.id(i), want)
	if err != nil {
		return true, err
	}
	copy(p, c.Bytes()[from:])
	c.Release()
	return true, nil
}

func (r *Reader) readSegments(ctx context.Context, p []byte, off int64) error {
	held := segments.Get().(*[]Segment)
	segs, err := r.View(ctx, off, len(p), (*held)[:0])
	for i := range segs {
		s := &segs[i]
		if b := s.Bytes(); b != nil {
			copy(p, b)
		} else {
			clear(p[:s.Len])
		}
		p = p[s.Len:]
		s.Release()
	}
	*held = segs[:0]
	segments.Put(held)
	return err
}

var _ io.ReaderAt = (*Reader)(nil)

// ReadAt implements io.ReaderAt: it reads up to the disk's end, and a read
// that reaches it returns io.EOF when it is short.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read disk: offset %d is below zero", off)
	}
	if off >= r.m.Size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), r.m.Size-off))
	if err := r.ReadAtContext(context.Background(), p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
