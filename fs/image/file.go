package image

import (
	"context"
	"fmt"
	"io"
)

// madeMax bounds the table bytes that one Segment makes up.
const madeMax = 64 << 10

// area is a stretch [start, end) of a file. at describes the run that begins
// rel bytes into it, of at most max bytes; max never leaves the area.
type area struct {
	start, end int64
	at         func(ctx context.Context, rel, max int64) (Segment, error)
}

// file is a made-up image: areas in ascending order, and zeros between them.
// It is immutable, so any number of goroutines may use it.
type file struct {
	format    Format
	size      int64
	allocated int64
	areas     []area
}

var _ Image = (*file)(nil)

// Size implements Image.
func (f *file) Size() int64 { return f.size }

// AllocatedBytes implements Image.
func (f *file) AllocatedBytes() int64 { return f.allocated }

// Segment implements Image. An offset at or past the end gives io.EOF.
func (f *file) Segment(ctx context.Context, off, max int64) (Segment, error) {
	if off < 0 || max < 1 {
		return Segment{}, fmt.Errorf("make %s image up: %d bytes at offset %d", f.format, max, off)
	}
	if off >= f.size {
		return Segment{}, io.EOF
	}
	end := f.size
	for _, a := range f.areas {
		if off < a.start {
			end = a.start
			break
		}
		if off < a.end {
			s, err := a.at(ctx, off-a.start, min(max, a.end-off))
			if err != nil {
				return Segment{}, fmt.Errorf("make %s image up at %d: %w", f.format, off, err)
			}
			return s, nil
		}
	}
	return Segment{Kind: Zeros, Length: min(max, end-off)}, nil
}

// blob is an area whose length bytes build gives: a header. It is built anew
// for each look, because it is small and seldom read.
func blob(start, length int64, build func() []byte) area {
	at := func(_ context.Context, rel, max int64) (Segment, error) {
		return made(build()[rel : rel+max]), nil
	}
	return area{start: start, end: start + length, at: at}
}

// made is the segment of these bytes.
func made(b []byte) Segment { return Segment{Kind: Made, Length: int64(len(b)), Bytes: b} }
