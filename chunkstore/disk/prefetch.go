package disk

import (
	"context"
	"errors"

	"holdfast/chunkstore/cache"
)

// maxPrefetch bounds the bytes of one Prefetch.
const maxPrefetch = 16 << 20

// bytesAnExtent is what an extent stores on the average, in a disk with many small
// files.
const bytesAnExtent = 16 << 10

// Prefetch asks the cache for the chunks of n bytes from off, clipped to the
// disk's end and to 16 MiB, and never waits: while their maps are not in
// memory, one goroutine of the reader loads them (which outlives ctx) and asks
// then; what is asked for meanwhile and has no maps either is left out. Errors
// show when the bytes are read.
func (r *Reader) Prefetch(ctx context.Context, off, n int64) {
	if off < 0 || off >= r.m.Size || n <= 0 {
		return
	}
	n = min(n, maxPrefetch, r.m.Size-off)
	done, err := r.prefetch(ctx, r.peek, off, n)
	if !errors.Is(err, errNotCached) || !r.ahead.CompareAndSwap(false, true) {
		return
	}
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer r.ahead.Store(false)
		r.prefetch(ctx, r.find, off+done, n-done)
	}()
}

// prefetch queues the chunks of a range and returns how far it came.
func (r *Reader) prefetch(ctx context.Context, find lookup, off, n int64) (done int64, err error) {
	for done < n {
		from := int((off + done) % RegionSize)
		part := min(n-done, int64(RegionSize-from))
		m, err := r.region(ctx, find, (off+done)/RegionSize)
		if err != nil {
			return done, err
		}
		if m != nil {
			r.prefetchRegion(m, from, from+int(part))
		}
		done += part
	}
	return done, nil
}

func (r *Reader) prefetchRegion(m *region, from, to int) {
	var room [64]cache.Want
	wants := room[:0]
	for i, _ := m.find(from); i < m.n && m.off(i) < to; i++ {
		wants = append(wants, cache.Want{ID: m.id(i), Len: m.len(i)})
	}
	r.chunks.Prefetch(wants...)
}

// mapShare is the part of the maps' memory that one disk's LoadMaps may take.
const mapShare = 4

// LoadMaps brings all maps of the disk into memory, if they take no more than a
// quarter of what is there for maps, about; else it does nothing. It is for who is
// about to read all over the disk. Errors show when the bytes are read.
func (r *Reader) LoadMaps(ctx context.Context) {
	if r.m.DataBytes/bytesAnExtent*extentLen+r.m.Blocks*mapOverhead > r.room/mapShare {
		return
	}
	r.regions(ctx, 0, func(n int64, leaf *node, i int) error {
		_, err := r.regionMap(ctx, r.find, n, leaf.ids[i], leaf.bitmaps[i])
		return err
	})
}
