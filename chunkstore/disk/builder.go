package disk

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"holdfast/chunkstore/pack"
)

// PutFunc stores a map and returns its id. plain is valid during the call.
type PutFunc func(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error)

// Builder writes a disk's map from its regions, given in order. It holds one
// node of each level, about 100 KiB at most, whatever the disk's size. Its
// methods are not safe for concurrent use. After an error every call fails.
type Builder struct {
	put   PutFunc
	m     Map
	next  int64 // regions below it can't be added any more
	open  []draft
	buf   []byte // encodings
	ended error
}

// draft is a node that is still being filled.
type draft struct {
	level  int
	at     int64 // number of the node in its level
	ids    []pack.ID
	bits   []uint64 // of a leaf
	counts []totals // of an interior node
	sum    totals
}

// NewBuilder returns a builder for a disk of size bytes, 1 to MaxSize. It gives
// put the disk's new region maps and its nodes, children first.
func NewBuilder(size int64, put PutFunc) (*Builder, error) {
	if size < 1 || size > MaxSize {
		return nil, fmt.Errorf("build disk map: size of %d bytes: want 1 to %d", size, int64(MaxSize))
	}
	b := &Builder{put: put, m: Map{Size: size}}
	for level := range rootLevel(size) + 1 {
		b.open = append(b.open, draft{level: level})
	}
	return b, nil
}

// Add gives the map of region n, which must lie behind every region given
// before. Regions that are left out, and empty maps, are holes.
func (b *Builder) Add(ctx context.Context, n int64, m RegionMap) error {
	if len(m) == 0 {
		return b.advance(n)
	}
	var err error
	if b.buf, err = m.Encode(b.buf[:0]); err != nil {
		return b.fail(fmt.Errorf("region %d: %w", n, err))
	}
	if last := m[len(m)-1]; n >= 0 && n < regionCount(b.m.Size) && last.Off+last.Len > regionLen(b.m.Size, n) {
		return b.fail(fmt.Errorf("region %d ends at %d, behind the disk's end at %d", n, last.Off+last.Len, regionLen(b.m.Size, n)))
	}
	if err := b.advance(n); err != nil {
		return err
	}
	id, err := b.put(ctx, pack.KindRegionMap, b.buf)
	if err != nil {
		return b.fail(fmt.Errorf("put map of region %d: %w", n, err))
	}
	return b.add(ctx, n, id, m.Bitmap(), m.DataBytes())
}

// AddKnown gives a region whose map the store has already: its id, its bitmap
// and the bytes it stores, all as a Reader tells them of an earlier version.
// The region's map is not read; a wrong bitmap makes a disk that can't be read.
func (b *Builder) AddKnown(ctx context.Context, n int64, id pack.ID, bitmap uint64, dataBytes int64) error {
	if err := b.advance(n); err != nil {
		return err
	}
	grains := bits.OnesCount64(bitmap)
	most := min(int64(grains)*GrainSize, int64(regionLen(b.m.Size, n)))
	if id.IsZero() || bitmap == 0 || bits.Len64(bitmap) > grainCount(b.m.Size, n) || dataBytes < int64(grains) || dataBytes > most {
		return b.fail(fmt.Errorf("region %d can't have map %v, bitmap %x and %d bytes of data", n, id, bitmap, dataBytes))
	}
	return b.add(ctx, n, id, bitmap, dataBytes)
}

// grainCount returns how many grains region n of a disk has.
func grainCount(size, n int64) int { return int(ceilDiv(int64(regionLen(size, n)), GrainSize)) }

// advance checks that region n may come now.
func (b *Builder) advance(n int64) error {
	switch {
	case b.ended != nil:
		return b.ended
	case n < b.next || n >= regionCount(b.m.Size):
		return b.fail(fmt.Errorf("region %d: want one of %d to %d", n, b.next, regionCount(b.m.Size)-1))
	}
	b.next = n + 1
	return nil
}

func (b *Builder) fail(err error) error {
	if b.ended == nil {
		b.ended = fmt.Errorf("build disk map: %w", err)
	}
	return b.ended
}

func (b *Builder) add(ctx context.Context, n int64, id pack.ID, bitmap uint64, dataBytes int64) error {
	leaf, err := b.draftFor(ctx, 0, n)
	if err != nil {
		return err
	}
	i := int(n % leafEntries)
	leaf.grow(i)
	leaf.ids[i], leaf.bits[i] = id, bitmap
	t := regionTotals(bitmap)
	t[inSpans] -= leaf.sum[inSpans] // the regions of a leaf are one span
	leaf.sum = leaf.sum.plus(t)
	b.m.DataBytes += dataBytes
	return nil
}

// draftFor returns the draft at level that entry number n of the level belongs
// to, after putting the one before if that is finished by n.
func (b *Builder) draftFor(ctx context.Context, level int, n int64) (*draft, error) {
	d, at := &b.open[level], n/int64(maxEntries(level))
	if d.at != at {
		if err := b.flush(ctx, level); err != nil {
			return nil, err
		}
		d.at = at
	}
	return d, nil
}

// flush puts the draft at level, enters it in its parent's draft (or as the
// root) and empties it.
func (b *Builder) flush(ctx context.Context, level int) error {
	d := &b.open[level]
	if len(d.ids) == 0 {
		return nil
	}
	b.buf = d.encode(b.buf[:0])
	id, err := b.put(ctx, pack.KindDiskMap, b.buf)
	if err != nil {
		return b.fail(fmt.Errorf("put node %d of level %d: %w", d.at, level, err))
	}
	if err := b.enter(ctx, d, id); err != nil {
		return err
	}
	d.ids, d.bits, d.counts, d.sum = d.ids[:0], d.bits[:0], d.counts[:0], totals{}
	return nil
}

func (b *Builder) enter(ctx context.Context, d *draft, id pack.ID) error {
	if d.level == len(b.open)-1 {
		b.m.Root = id
		b.m.Grains, b.m.Blocks, b.m.Spans = int64(d.sum[inGrains]), int64(d.sum[inBlocks]), int64(d.sum[inSpans])
		return nil
	}
	parent, err := b.draftFor(ctx, d.level+1, d.at)
	if err != nil {
		return err
	}
	i := int(d.at % int64(maxEntries(parent.level)))
	parent.grow(i)
	parent.ids[i], parent.counts[i] = id, d.sum
	parent.sum = parent.sum.plus(d.sum)
	return nil
}

// Finish puts what is left and returns the disk's map. The builder is used up.
func (b *Builder) Finish(ctx context.Context) (Map, error) {
	if b.ended != nil {
		return Map{}, b.ended
	}
	for level := range b.open {
		if err := b.flush(ctx, level); err != nil {
			return Map{}, err
		}
	}
	b.ended = errors.New("build disk map: already finished")
	return b.m, nil
}
