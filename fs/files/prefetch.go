package files

import (
	"context"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume"
)

// prefetchRuns bounds the extents, and the runs of each on disks, that one
// prefetch walks through: a hostile file may be of very many.
const prefetchRuns = 64

// Prefetch asks the cache for the chunks behind the file's bytes [from, to). It
// reads the file's metadata, and never waits for its data. Errors show when the
// bytes are read.
func (s *Space) Prefetch(ctx context.Context, p Place, from, to int64) {
	v := s.Volume(p)
	if v == nil || from >= to {
		return
	}
	fs, err := v.Open(ctx)
	if err != nil {
		return
	}
	left := prefetchRuns
	fs.Extents(ctx, p.Node, from, func(e guest.Extent) bool { //nolint:errcheck // see above
		start, end := max(e.Offset, from), min(e.Offset+e.Length, to)
		if start < end && !e.Hole && e.Place >= 0 {
			v.prefetch(ctx, e.Place+start-e.Offset, end-start)
		}
		left--
		return left > 0 && e.Offset+e.Length < to
	})
}

// prefetch asks for the chunks of a range of the volume.
func (v *Volume) prefetch(ctx context.Context, off, n int64) {
	left := prefetchRuns
	v.EachRun(off, n, func(r volume.Run) bool { //nolint:errcheck // shows when the bytes are read
		if d := v.readers[r.Disk]; d != nil && r.Copy == 0 {
			d.Prefetch(ctx, r.DiskOffset, r.Length)
		}
		left--
		return left > 0
	})
}
