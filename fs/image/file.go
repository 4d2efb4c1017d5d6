package image

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
)

// madeMax bounds the table bytes that one Segment makes up.
const madeMax = 64 << 10

// area is a stretch [start, end) of a file. at describes the run that begins
// rel bytes into it, of at most max bytes; max never leaves the area.
type area struct {
	start, end int64
	at         func(ctx context.Context, rel, max int64) (Segment, error)
}

// file is a made-up image: areas in ascending order, and zeros between them. Its
// sizes are known at once. The areas, ten times as large, are made when somebody
// looks inside first: of most images a listing only wants the sizes. What it shows
// never changes, so any number of goroutines may use it.
type file struct {
	format    Format
	disk      Disk
	id        Identity
	size      int64
	allocated int64
	areas     atomic.Pointer[[]area] // nil: not made
}

// parts returns the areas. Two goroutines may make them at once: they are the same.
func (f *file) parts() []area {
	if made := f.areas.Load(); made != nil {
		return *made
	}
	made := f.build()
	f.areas.Store(&made)
	return made
}

func (f *file) build() []area {
	switch f.format {
	case Qcow2:
		return areasQcow2(f.disk)
	case VHD:
		return areasVHD(f.disk, f.id)
	case VHDX:
		return areasVHDX(f.disk, f.id)
	case VMDK:
		return areasVMDK(f.disk, f.id)
	}
	return areasRaw(f.disk)
}

// measure sets the sizes.
func (f *file) measure() {
	switch d := f.disk; f.format {
	case Qcow2:
		f.size, f.allocated = sizesQcow2(d)
	case VHD:
		f.size, f.allocated = sizesVHD(d)
	case VHDX:
		f.size, f.allocated = sizesVHDX(d)
	case VMDK:
		f.size, f.allocated = sizesVMDK(d)
	default:
		f.size, f.allocated = d.Size(), d.DataBytes()
	}
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
	for _, a := range f.parts() {
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
