package image

import "context"

// newRaw is the disk itself: every byte at its own offset. All of it is the
// guest's: whoever reads the disk, or asks it for its extents, knows its holes,
// and asking here as well would cost a look at the maps of a long run.
func newRaw(d Disk) *file {
	at := func(_ context.Context, off, max int64) (Segment, error) {
		return Segment{Kind: Guest, GuestOff: off, Length: min(max, d.Size()-off)}, nil
	}
	return &file{
		format:    Raw,
		size:      d.Size(),
		allocated: d.DataBytes(),
		areas:     []area{{start: 0, end: d.Size(), at: at}},
	}
}
