package image

import (
	"context"
	"errors"
	"io"
)

// ReadAt fills p with the bytes of img from off, taking the guest's bytes
// from d. It holds no more than p and one table piece, and may be called by
// many goroutines. Like io.ReaderAt it returns io.EOF with a short count at
// the end of the image, and an error with what came before it.
func ReadAt(ctx context.Context, img Image, d Disk, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read image: negative offset")
	}
	n := 0
	for n < len(p) {
		if off >= img.Size()-int64(n) {
			return n, io.EOF
		}
		s, err := img.Segment(ctx, off+int64(n), int64(len(p)-n))
		if err != nil {
			return n, err
		}
		if err := s.fill(ctx, d, p[n:n+int(s.Length)]); err != nil {
			return n, err
		}
		n += int(s.Length)
	}
	return n, nil
}

// fill writes the segment's bytes to p, which has its length.
func (s Segment) fill(ctx context.Context, d Disk, p []byte) error {
	switch s.Kind {
	case Made:
		copy(p, s.Bytes)
	case Guest:
		return d.ReadAtContext(ctx, p, s.GuestOff)
	default:
		clear(p)
	}
	return nil
}

// NewReaderAt reads img as an io.ReaderAt whose reads all obey ctx.
func NewReaderAt(ctx context.Context, img Image, d Disk) io.ReaderAt {
	return readerAt{ctx, img, d}
}

type readerAt struct {
	ctx  context.Context
	img  Image
	disk Disk
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	return ReadAt(r.ctx, r.img, r.disk, p, off)
}
