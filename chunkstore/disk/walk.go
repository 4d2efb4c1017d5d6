package disk

import (
	"context"
	"errors"
	"fmt"

	"holdfast/chunkstore/pack"
)

// errStop ends a walk early without being an error.
var errStop = errors.New("stop")

// Regions calls fn for each region from number from on that is not a hole, in
// order, with its map's id and the bitmap of its grains that are allocated. It
// reads nodes and no region map, and passes holes as fast as their nodes are
// large. It returns the first error, fn's or its own.
func (r *Reader) Regions(ctx context.Context, from int64, fn func(n int64, id pack.ID, bitmap uint64) error) error {
	return r.regions(ctx, from, func(n int64, leaf *node, i int) error {
		return fn(n, leaf.ids[i], leaf.bitmaps[i])
	})
}

func (r *Reader) regions(ctx context.Context, from int64, fn func(n int64, leaf *node, i int) error) error {
	if r.m.Root.IsZero() || from >= regionCount(r.m.Size) {
		return nil
	}
	return r.regionsBelow(ctx, r.root(), max(from, 0)*RegionSize, fn)
}

func (r *Reader) regionsBelow(ctx context.Context, p place, from int64, fn func(n int64, leaf *node, i int) error) error {
	nd, err := r.node(ctx, r.find, p)
	if err != nil {
		return err
	}
	first := 0
	if from > p.start {
		first = p.entry(from)
	}
	for i := nd.next(first); i < len(nd.ids); i = nd.next(i + 1) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.level == 0 {
			err = fn(p.start/RegionSize+int64(i), nd, i)
		} else {
			err = r.regionsBelow(ctx, p.below(nd, i), from, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Part is a chunk that a disk is made of.
type Part struct {
	Kind pack.Kind // disk map, region map or data
	ID   pack.ID
	Off  int64 // on the disk: where what it describes or holds begins
	Len  int64 // bytes of the disk it describes, or holds
}

// Parts calls fn for every chunk that the disk is made of, parents before
// children and otherwise in the disk's order, and goes below a map only when
// fn says into (for data it does not matter): versions share most of their
// maps, so who has seen a map need not see it again. A chunk is given as often
// as the disk uses it. fn is called before the chunk is read; a map that can't
// be read, or does not fit its place, is an error that ends the walk.
func (r *Reader) Parts(ctx context.Context, fn func(p Part) (into bool, err error)) error {
	if r.m.Root.IsZero() {
		return nil
	}
	return r.partsBelow(ctx, r.root(), fn)
}

func (r *Reader) partsBelow(ctx context.Context, p place, fn func(Part) (bool, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	covers := min(entrySpan(p.level)*int64(maxEntries(p.level)), r.m.Size-p.start)
	into, err := fn(Part{pack.KindDiskMap, p.id, p.start, covers})
	if err != nil || !into {
		return err
	}
	nd, err := r.node(ctx, r.find, p)
	if err != nil {
		return err
	}
	for i := nd.next(0); i < len(nd.ids); i = nd.next(i + 1) {
		if p.level == 0 {
			err = r.regionParts(ctx, p.start/RegionSize+int64(i), nd.ids[i], nd.bitmaps[i], fn)
		} else {
			err = r.partsBelow(ctx, p.below(nd, i), fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) regionParts(ctx context.Context, n int64, id pack.ID, bitmap uint64, fn func(Part) (bool, error)) error {
	start := n * RegionSize
	into, err := fn(Part{pack.KindRegionMap, id, start, int64(regionLen(r.m.Size, n))})
	if err != nil || !into {
		return err
	}
	m, err := r.regionMap(ctx, r.find, n, id, bitmap)
	if err != nil {
		return err
	}
	for i := range m.n {
		if _, err := fn(Part{pack.KindData, m.id(i), start + int64(m.off(i)), int64(m.len(i))}); err != nil {
			return err
		}
	}
	return nil
}

// Nodes calls fn for every map of the disk, parents before children: nodes of
// the disk map and region maps. The region maps themselves are not read.
func (r *Reader) Nodes(ctx context.Context, fn func(kind pack.Kind, id pack.ID) error) error {
	return r.Parts(ctx, func(p Part) (bool, error) {
		return p.Kind == pack.KindDiskMap, fn(p.Kind, p.ID)
	})
}

// Check reads every map of the disk and proves that they fit each other and
// the Map, its DataBytes included. It reads no data.
func (r *Reader) Check(ctx context.Context) error {
	var data int64
	err := r.Parts(ctx, func(p Part) (bool, error) {
		if p.Kind == pack.KindData {
			data += p.Len
		}
		return true, nil
	})
	if err == nil && data != r.m.DataBytes {
		err = fmt.Errorf("disk map: the regions store %d bytes, but %d are said to be there", data, r.m.DataBytes)
	}
	return err
}
