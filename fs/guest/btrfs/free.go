package btrfs

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"holdfast/fs/guest"
)

// The first MiB of a device is never given to a chunk: boot loaders lie there.
// Around each superblock 64 KiB are kept as well.
const reservedStart = 1 << 20

// taken is a stripe on the volume that was opened.
type taken struct {
	c          *chunk
	number     int
	start, end int64
}

// Free implements guest.Filesystem, of the volume that was opened: what no
// chunk has, and of chunks what no extent has on this device. With parity only
// whole rows are free. It reads the tree of free space where that is valid,
// else the tree of extents.
func (f *FS) Free(ctx context.Context, fn func(guest.Range) bool) error {
	if f.state.Health == guest.NotReplayed {
		return fmt.Errorf("btrfs: free space beside a log that was not replayed is %w", guest.ErrUnsupported)
	}
	if unknown := f.sb.compatRO &^ readableCompatRO; unknown != 0 {
		return fmt.Errorf("btrfs: free space with unknown features %#x is %w", unknown, guest.ErrUnsupported)
	}
	size := min(f.self.Size(), int64(f.self.super.device.bytes))
	stripes, err := f.ownStripes()
	if err != nil {
		return err
	}
	g := giver{fn: fn, end: size}
	source, err := f.freeSource(ctx)
	if err != nil {
		return err
	}
	at := int64(reservedStart)
	for _, s := range stripes {
		g.give(at, s.start)
		at = s.end
		err := source(ctx, s.c, func(from, to uint64) bool {
			off, end := s.c.onStripe(s.number, from, to)
			if off < end {
				g.give(s.start+int64(off), min(s.start+int64(end), s.end))
			}
			return !g.stopped && ctx.Err() == nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || g.stopped {
			return err
		}
	}
	g.give(at, size)
	g.flush()
	return nil
}

// ownStripes gives the stripes on the volume that was opened, in order.
func (f *FS) ownStripes() ([]taken, error) {
	var all []taken
	for i := range f.chunks {
		c := &f.chunks[i]
		for n, s := range c.stripes {
			if f.devices[s.device] == f.self {
				all = append(all, taken{c, n, int64(s.off), int64(s.off + c.stripeBytes())})
			}
		}
	}
	slices.SortFunc(all, func(a, b taken) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(all); i++ {
		if all[i].start < all[i-1].end {
			return nil, guest.Corrupt("btrfs: two chunks have byte %d of a device", all[i].start)
		}
	}
	return all, nil
}

// giver joins ranges, leaves out what is kept around superblocks, and passes
// the rest on.
type giver struct {
	fn       func(guest.Range) bool
	end      int64 // of the device
	from, to int64 // not yet passed on
	stopped  bool
}

func (g *giver) give(from, to int64) {
	from, to = max(from, reservedStart), min(to, g.end)
	for _, at := range superPlaces {
		if at+stripeLen > from && at < to {
			g.join(from, at)
			from = at + stripeLen
		}
	}
	g.join(from, to)
}

func (g *giver) join(from, to int64) {
	switch {
	case from >= to || g.stopped:
	case from == g.to && g.to > g.from:
		g.to = to
	default:
		g.flush()
		g.from, g.to = from, to
	}
}

func (g *giver) flush() {
	if g.to > g.from && !g.stopped {
		g.stopped = !g.fn(guest.Range{Offset: g.from, Length: g.to - g.from})
	}
	g.from, g.to = 0, 0
}

// freeIn calls fn for what is free in a chunk, as offsets in it, in order.
type freeIn func(ctx context.Context, c *chunk, fn func(from, to uint64) bool) error

// freeSource picks the tree that tells what is free.
func (f *FS) freeSource(ctx context.Context) (freeIn, error) {
	const valid = compatROFreeTree | compatROFreeValid
	id, gaps := uint64(treeExtent), f.betweenExtents
	if f.sb.compatRO&valid == valid {
		id, gaps = treeFreeSpace, f.freeItems
	}
	t, err := f.tree(ctx, id)
	if err != nil {
		return nil, f.damaged(err)
	}
	return func(ctx context.Context, c *chunk, fn func(from, to uint64) bool) error {
		pinned := f.pinnedIn(c)
		return gaps(ctx, t, c, func(from, to uint64) bool {
			from, to = max(from, c.start), min(to, c.start+c.length)
			for len(pinned) > 0 && pinned[0].start < to {
				p := pinned[0]
				if p.end > to { // the rest of it may lie in the next gap
					to = max(p.start, from)
					break
				}
				if from < p.start && !fn(from-c.start, p.start-c.start) {
					return false
				}
				from, pinned = max(from, p.end), pinned[1:]
			}
			return from >= to || fn(from-c.start, to-c.start)
		})
	}, nil
}

// pinnedIn gives what the log has in a chunk.
func (f *FS) pinnedIn(c *chunk) []span {
	if f.log == nil {
		return nil
	}
	i, _ := slices.BinarySearchFunc(f.log.pinned, c.start, func(s span, at uint64) int { return cmp.Compare(s.start, at) })
	return f.log.pinned[i:]
}

// betweenExtents gives what lies between a chunk's extents.
func (f *FS) betweenExtents(ctx context.Context, t *tree, c *chunk, fn func(from, to uint64) bool) error {
	at, end, more := c.start, c.start+c.length, true
	err := f.scan(ctx, t, key{c.start, 0, 0}, func(k key, _ []byte) bool {
		if k.object >= end {
			return false
		}
		length := k.offset
		switch k.kind {
		case kindMetadata:
			length = f.sb.nodeSize
		case kindExtent:
		default:
			return true
		}
		if k.object > at {
			more = fn(at, k.object)
		}
		at = max(at, k.object+min(length, c.length))
		return more
	})
	if err == nil && more && at < end {
		fn(at, end)
	}
	return err
}

// freeItems gives the free runs of a chunk: items that are one, and bitmaps of
// sectors.
func (f *FS) freeItems(ctx context.Context, t *tree, c *chunk, fn func(from, to uint64) bool) error {
	end, at := c.start+c.length, c.start
	var failed error
	known := false
	err := f.scan(ctx, t, key{c.start, kindFreeInfo, 0}, func(k key, item []byte) bool {
		if k.object >= end {
			return false
		}
		if k.kind == kindFreeInfo {
			known = k.object == c.start && k.offset == c.length
			return known
		}
		bits := (k.offset + f.sb.sectorSize - 1) / f.sb.sectorSize
		switch {
		case k.object < at || k.offset > end-k.object || k.kind == kindFreeBitmap && bits > uint64(len(item))*8:
			failed = guest.Corrupt("btrfs: free space at %d, %d bytes of the logical space, of kind %d", k.object, k.offset, k.kind)
			return false
		case k.kind == kindFreeExtent:
			at = k.object + k.offset
			return fn(k.object, at)
		case k.kind == kindFreeBitmap:
			at = k.object + k.offset
			return f.freeBits(k.object, bits, item, fn)
		}
		return true
	})
	if err == nil && failed == nil && !known {
		failed = guest.Corrupt("btrfs: the free space of the chunk at %d is not known", c.start)
	}
	if failed != nil {
		return failed
	}
	return err
}

// freeBits gives the runs of set bits.
func (f *FS) freeBits(start, bits uint64, b []byte, fn func(from, to uint64) bool) bool {
	set := func(i uint64) bool { return b[i/8]>>(i%8)&1 != 0 }
	for i := uint64(0); i < bits; i++ {
		if !set(i) {
			continue
		}
		from := i
		for i < bits && set(i) {
			i++
		}
		if !fn(start+from*f.sb.sectorSize, start+i*f.sb.sectorSize) {
			return false
		}
	}
	return true
}
