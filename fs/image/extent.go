package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// Extent describes the run of img that begins at off: its length, and whether
// it is data or a hole. A hole surely reads as zeros; data may be zeros too.
// Neighbouring runs may be of the same kind. It reads maps, never guest data.
// At or past the end it returns io.EOF.
func Extent(ctx context.Context, img Image, d Disk, off int64) (length int64, data bool, err error) {
	s, err := img.Segment(ctx, off, math.MaxInt64)
	if err != nil || s.Kind != Guest {
		return s.Length, s.Kind == Made, err
	}
	length, data, err = d.Extent(ctx, s.GuestOff)
	if err == nil && length < 1 {
		err = fmt.Errorf("%w: extent of %d bytes at %d", errCounts, length, s.GuestOff)
	}
	return min(length, s.Length), data, err
}

// SeekData returns the first offset at or after off that is in data, as
// lseek(2) does with SEEK_DATA. Where none follows, and at or past the end,
// it returns io.EOF (ENXIO to a caller of lseek).
func SeekData(ctx context.Context, img Image, d Disk, off int64) (int64, error) {
	return seek(ctx, img, d, off, true)
}

// SeekHole returns the first offset at or after off that is in a hole, as
// lseek(2) does with SEEK_HOLE; the end of the image counts as one. At or
// past the end it returns io.EOF.
func SeekHole(ctx context.Context, img Image, d Disk, off int64) (int64, error) {
	at, err := seek(ctx, img, d, off, false)
	if errors.Is(err, io.EOF) && off >= 0 && off < img.Size() {
		return img.Size(), nil
	}
	return at, err
}

// seek walks runs until one is of the wanted kind. A walk over a large full
// disk may be long, so it looks at ctx at each step.
func seek(ctx context.Context, img Image, d Disk, off int64, wanted bool) (int64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		length, data, err := Extent(ctx, img, d, off)
		if err != nil {
			return 0, err
		}
		if data == wanted {
			return off, nil
		}
		off += length
	}
}
