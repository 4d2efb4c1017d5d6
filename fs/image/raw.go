package image

import (
	"context"
	"fmt"
)

// newRaw is the disk itself: every byte at its own offset, holes as zeros.
func newRaw(d Disk) *file {
	at := func(ctx context.Context, off, max int64) (Segment, error) {
		length, data, err := d.Extent(ctx, off)
		if err != nil {
			return Segment{}, err
		}
		if length < 1 {
			return Segment{}, fmt.Errorf("%w: extent of %d bytes at %d", errCounts, length, off)
		}
		s := Segment{Kind: Zeros, Length: min(length, max)}
		if data {
			s.Kind, s.GuestOff = Guest, off
		}
		return s, nil
	}
	return &file{
		format:    Raw,
		size:      d.Size(),
		allocated: d.DataBytes(),
		areas:     []area{{start: 0, end: d.Size(), at: at}},
	}
}
