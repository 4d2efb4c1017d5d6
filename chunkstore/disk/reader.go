package disk

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

// Reader reads one disk of one version. It holds nothing but the disk's Map:
// chunks and maps are in the caches it was given, so any number may be open.
// It is safe for concurrent use and needs no closing.
//
// Errors of its methods name the place on the disk and the chunk. A damaged or
// missing map or chunk is an error and never zeros.
type Reader struct {
	m      Map
	level  int // of the root
	chunks *cache.Cache
	find   lookup      // may wait
	peek   lookup      // never waits
	room   int64       // bytes that maps may take in memory
	ahead  atomic.Bool // a goroutine of Prefetch loads maps
}

// Open returns a reader of the disk that m describes. It checks m's numbers
// and reads nothing.
func Open(chunks *cache.Cache, maps *Maps, m Map) (*Reader, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	return &Reader{m: m, level: rootLevel(m.Size), chunks: chunks, find: maps.find, peek: maps.peek, room: maps.room}, nil
}

// Map returns what the reader was opened with.
func (r *Reader) Map() Map { return r.m }

// Size is the disk's size in bytes, any number from 1 to MaxSize.
func (r *Reader) Size() int64 { return r.m.Size }

// DataBytes is how many bytes of the disk are stored and not holes.
func (r *Reader) DataBytes() int64 { return r.m.DataBytes }

// place is a node of the tree as its parent names it.
type place struct {
	level int
	start int64 // first byte of the disk it covers
	id    pack.ID
	sum   totals
}

func (r *Reader) root() place {
	return place{level: r.level, id: r.m.Root, sum: r.m.totals()}
}

// entry returns the number of the entry of the node at p that covers off.
func (p place) entry(off int64) int { return int((off - p.start) / entrySpan(p.level)) }

// below returns the place of entry i of n, an interior node at p.
func (p place) below(n *node, i int) place {
	return place{p.level - 1, p.start + int64(i)*entrySpan(p.level), n.ids[i], n.child(i)}
}

// node returns the node at p, proved to fit its place.
func (r *Reader) node(ctx context.Context, find lookup, p place) (*node, error) {
	e, err := find(ctx, p.id)
	if err != nil {
		return nil, fmt.Errorf("disk map at %d: %w", p.start, err)
	}
	n := e.node
	switch {
	case n == nil:
		err = fmt.Errorf("is a region map")
	case n.level != p.level:
		err = fmt.Errorf("is a node of level %d, not %d", n.level, p.level)
	case n.total() != p.sum:
		err = fmt.Errorf("counts %v units, but %v are said to be there", n.total(), p.sum)
	case !n.fits(p.start, r.m.Size):
		err = fmt.Errorf("reaches behind the disk's end at %d", r.m.Size)
	default:
		return n, nil
	}
	return nil, fmt.Errorf("disk map at %d: map %v: %w", p.start, p.id, err)
}

// fits reports whether nothing of a node whose first byte is start lies behind
// a disk's end. Its last entry is not a hole, so that is the one to look at.
func (n *node) fits(start, size int64) bool {
	last := len(n.ids) - 1
	at := start + int64(last)*entrySpan(n.level)
	if at >= size {
		return false
	}
	return n.level > 0 || bits.Len64(n.bitmaps[last]) <= grainCount(size, at/RegionSize)
}

// leaf returns the leaf that covers off, or nil when its span is a hole.
func (r *Reader) leaf(ctx context.Context, find lookup, off int64) (*node, place, error) {
	p := r.root()
	for !p.id.IsZero() {
		n, err := r.node(ctx, find, p)
		if err != nil || p.level == 0 {
			return n, p, err
		}
		i := p.entry(off)
		if i >= len(n.ids) {
			break
		}
		p = p.below(n, i)
	}
	return nil, place{}, nil
}

// region returns the map of region n, or nil when the region is a hole.
func (r *Reader) region(ctx context.Context, find lookup, n int64) (*region, error) {
	leaf, p, err := r.leaf(ctx, find, n*RegionSize)
	if err != nil || leaf == nil {
		return nil, err
	}
	i := p.entry(n * RegionSize)
	if i >= len(leaf.ids) || leaf.ids[i].IsZero() {
		return nil, nil
	}
	return r.regionMap(ctx, find, n, leaf.ids[i], leaf.bitmaps[i])
}

// regionMap returns the map of region n that its leaf names, proved to fit.
func (r *Reader) regionMap(ctx context.Context, find lookup, n int64, id pack.ID, bitmap uint64) (*region, error) {
	e, err := find(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("region %d: %w", n, err)
	}
	m := e.region
	switch {
	case m == nil:
		err = fmt.Errorf("is a disk map node")
	case m.bitmap != bitmap:
		err = fmt.Errorf("stores grains %x, but %x are said to be there", m.bitmap, bitmap)
	case m.end > regionLen(r.m.Size, n):
		err = fmt.Errorf("ends at %d, behind the disk's end", m.end)
	default:
		return m, nil
	}
	return nil, fmt.Errorf("region %d: map %v: %w", n, id, err)
}

// RegionMap returns the map of region n, nil when the region is a hole.
func (r *Reader) RegionMap(ctx context.Context, n int64) (RegionMap, error) {
	if n < 0 || n >= regionCount(r.m.Size) {
		return nil, fmt.Errorf("region %d of a disk of %d", n, regionCount(r.m.Size))
	}
	m, err := r.region(ctx, r.find, n)
	if err != nil || m == nil {
		return nil, err
	}
	return m.extents(), nil
}
