package capture

import (
	"context"
	"fmt"
	"io"

	"holdfast/capture/source"
	"holdfast/chunkstore/disk"
)

// sourceDisk is what a capture reads of a source.
type sourceDisk interface {
	io.ReaderAt
	Size() int64
	Extent(off int64) (source.Extent, error)
}

// plan walks the source's extents and hands out, in order, the regions that
// hold data. Holes cost nothing, however large.
func (c *diskCapture) plan(ctx context.Context, size int64, window chan<- struct{}, work chan<- task) error {
	var t task
	seq := int64(0)
	var holes, left int64
	send := func() error {
		t.length = int(min(disk.RegionSize, size-t.n*disk.RegionSize))
		c.guest.leaveOut(&t)
		left += t.left
		c.opts.Progress.Done.Add(t.left)
		if len(t.extents) == 0 {
			return nil
		}
		t.seq = seq
		seq++
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case work <- t:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := c.src.Extent(off)
		if err != nil {
			return fmt.Errorf("find data from byte %d: %w", off, err)
		}
		if e.Length < 1 || e.Length > size-off {
			return fmt.Errorf("find data from byte %d: the source names a run of %d bytes", off, e.Length)
		}
		if !e.Data {
			holes += e.Length
			c.opts.Progress.Done.Add(e.Length)
			off += e.Length
			continue
		}
		for end := off + e.Length; off < end; {
			n := off / disk.RegionSize
			if n != t.n || t.extents == nil {
				if err := send(); err != nil {
					return err
				}
				t = task{n: n}
			}
			to := min(end, (n+1)*disk.RegionSize)
			t.extents = appendSpan(t.extents, span{int(off - n*disk.RegionSize), int(to - n*disk.RegionSize)})
			off = to
		}
	}
	err := send()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.HoleBytes += holes
	c.counts.LeftOutBytes += left
	return err
}

// appendSpan adds a run behind the others, as one with the last if they touch.
func appendSpan(spans []span, s span) []span {
	if k := len(spans) - 1; k >= 0 && spans[k].to == s.from {
		spans[k].to = s.to
		return spans
	}
	return append(spans, s)
}
