package image

import "context"

// areasRaw is the disk itself: every byte at its own offset. All of it is the
// guest's: whoever reads the disk, or asks it for its extents, knows its holes,
// and asking here as well would cost a look at the maps of a long run.
func areasRaw(d Disk) []area {
	at := func(_ context.Context, off, max int64) (Segment, error) {
		return Segment{Kind: Guest, GuestOff: off, Length: min(max, d.Size()-off)}, nil
	}
	return []area{{start: 0, end: d.Size(), at: at}}
}
