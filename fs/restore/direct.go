package restore

import (
	"context"
	"fmt"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

const slack = pack.Slack

// direct reads a disk for one pass: whole chunks are decoded straight into the
// reader's buffer, and only chunks wanted in part go through the cache.
type direct struct {
	*disk.Reader
	store  Store
	chunks *cache.Cache
	// skipped takes in what did not come back and is left out; nil: damage is
	// an error.
	skipped *skips
	rows    chunkstore.Rows   // nil: none
	get     chunkstore.Getter // of whole chunks
}

// inOrder is a store that reads faster what is wanted in the order of its packs.
type inOrder interface {
	// InOrder returns rows that read ahead into mem, or nil.
	InOrder(mem []byte) chunkstore.Rows
}

// inOrder returns the disk for several readers of all of it, who share what is read
// ahead into mem.
func (d *direct) inOrder(mem []byte) *direct {
	all := *d
	if s, ok := d.store.(inOrder); ok {
		all.rows = s.InOrder(mem)
	}
	return &all
}

// forOne returns the disk for one reader at a time.
func (d *direct) forOne() *direct {
	one := *d
	if d.rows != nil {
		one.get = d.rows.Row()
	}
	return &one
}

// ahead reads what is stored of guest bytes [off, end), which lie in one region. It
// is advice, for one caller at a time.
func (d *direct) ahead(ctx context.Context, off, end int64) {
	if d.rows == nil {
		return
	}
	n := off / disk.RegionSize
	m, err := d.RegionMap(ctx, n)
	if err != nil {
		return
	}
	var want []chunkstore.Want
	for _, e := range m {
		if at := n*disk.RegionSize + int64(e.Off); at+int64(e.Len) > off && at < end {
			want = append(want, chunkstore.Want{ID: e.ID, Len: e.Len})
		}
	}
	d.rows.Ahead(want)
}

// ReadAtContext fills p with guest bytes from off. It may overwrite p's
// capacity beyond its length.
func (d *direct) ReadAtContext(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		n := off / disk.RegionSize
		k := int(min(int64(len(p)), (n+1)*disk.RegionSize-off))
		m, err := d.RegionMap(ctx, n)
		if err != nil && d.skip(err, off, int64(k), "map", pack.ID{}) {
			m, err = nil, nil
		}
		if err != nil {
			return fmt.Errorf("guest bytes from %d: %w", n*disk.RegionSize, err)
		}
		if err := d.readRegion(ctx, m, p[:k], off); err != nil {
			return fmt.Errorf("guest bytes from %d: %w", n*disk.RegionSize, err)
		}
		p, off = p[k:], off+int64(k)
	}
	return nil
}

// readRegion fills p from guest offset off, which lies in one region, in
// ascending order: what the decoder overwrites behind a chunk is filled after it.
func (d *direct) readRegion(ctx context.Context, m disk.RegionMap, p []byte, off int64) error {
	start := off / disk.RegionSize * disk.RegionSize
	from := int(off - start)
	at := from // everything before it is filled
	to := from + len(p)
	for _, e := range m {
		if e.Off+e.Len <= from {
			continue
		}
		if e.Off >= to {
			break
		}
		if e.Off > at {
			clear(p[at-from : e.Off-from])
		}
		end := min(e.Off+e.Len, to)
		begin := max(e.Off, from)
		var err error
		if begin == e.Off && end == e.Off+e.Len {
			err = decodeInto(ctx, d.get, e, p[begin-from:end-from])
		} else {
			err = d.copyPart(ctx, e, p[begin-from:end-from], begin-e.Off)
		}
		if err != nil && d.skip(err, start+int64(begin), int64(end-begin), pack.KindData.String(), e.ID) {
			clear(p[begin-from : end-from])
			err = nil
		}
		if err != nil {
			return err
		}
		at = end
	}
	clear(p[at-from:])
	return nil
}

// decodeInto fills p, which has the chunk's length, with the chunk.
func decodeInto(ctx context.Context, g chunkstore.Getter, e disk.Extent, p []byte) error {
	got, err := g.Get(ctx, e.ID, p[:0])
	if err != nil {
		return err
	}
	if len(got) != e.Len {
		return fmt.Errorf("chunk %v has %d bytes, the map says %d", e.ID, len(got), e.Len)
	}
	if &got[0] != &p[0] {
		copy(p, got)
	}
	return nil
}

// copyPart fills p with part of a chunk, which neighbouring windows want too.
func (d *direct) copyPart(ctx context.Context, e disk.Extent, p []byte, from int) error {
	ch, err := d.chunks.Acquire(ctx, e.ID, e.Len)
	if err != nil {
		return err
	}
	defer ch.Release()
	copy(p, ch.Bytes()[from:])
	return nil
}
