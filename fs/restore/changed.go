package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"slices"

	"holdfast/chunkstore/disk"
	"holdfast/fs/image"
)

// Range is a run of a disk's bytes.
type Range struct{ Off, Len int64 }

func (r Range) end() int64 { return r.Off + r.Len }

// Changed is what was changed on a target since it was as the version, or more than
// that: ranges in ascending order with gaps between them, all on the disk. ParseChanged
// makes it.
type Changed []Range

// Bytes is how many bytes the ranges have.
func (c Changed) Bytes() int64 {
	var n int64
	for _, r := range c {
		n += r.Len
	}
	return n
}

// check reports whether c is in order and on a disk of size bytes.
func (c Changed) check(size int64) error {
	at := int64(-1)
	for _, r := range c {
		if r.Off <= at || r.Len <= 0 || r.Len > size-r.Off {
			return fmt.Errorf("the changed range of %d bytes at %d is out of order, or not on the disk of %d bytes", r.Len, r.Off, size)
		}
		at = r.end()
	}
	return nil
}

// ranges are those of the image that the restore deals with: all of it, or what changed.
func (j *job) ranges() Changed {
	if j.opts.Changed != nil {
		return j.opts.Changed
	}
	return Changed{{0, j.img.Size()}}
}

// forChanged reports what a restore of what changed can't do.
func (j *job) forChanged() error {
	switch {
	case j.opts.Format != image.Raw:
		return fmt.Errorf("what changed is known of a raw disk only, not of %s", j.opts.Format)
	case !j.opts.Overwrite:
		return ErrExists
	}
	return j.opts.Changed.check(j.img.Size())
}

// target opens what the restore writes to.
func (j *job) target() (*target, error) {
	size := j.img.Size()
	if j.opts.Changed == nil {
		return openTarget(j.opts.Out, j.opts.Overwrite, size)
	}
	t, err := openTarget(j.opts.Out, true, size)
	switch {
	case err != nil:
		return nil, err
	case t.fresh:
		return nil, errors.Join(fmt.Errorf("%w: a list of what changed is for a disk that is there; restore to a new file without it", iofs.ErrNotExist), t.abandon())
	case t.device:
		return t, nil
	}
	if have, err := t.file.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, t.abandon())
	} else if have != size {
		return nil, errors.Join(fmt.Errorf("it has %d bytes and the disk has %d, so it is not this disk with changes; restore without the list of them", have, size), t.abandon())
	}
	return t, nil
}

// checkMaps proves the maps of what the restore deals with, and reads no data.
func (j *job) checkMaps(ctx context.Context) error {
	if j.opts.Changed == nil {
		return j.disk.Check(ctx)
	}
	next := int64(0)
	for _, r := range j.opts.Changed {
		for n := max(next, r.Off/disk.RegionSize); n*disk.RegionSize < r.end(); n++ {
			if _, err := j.disk.RegionMap(ctx, n); err != nil {
				return err
			}
			next = n + 1
		}
	}
	return nil
}

// sector is what sizes of disks are rounded up to by who knows whole sectors only.
const sector = 512

// told is one entry of a list of changes.
type told struct {
	Range
	at int // where it ends in the list
}

// collected is what a list says, entry by entry, in any order.
type collected struct {
	size    int64
	most    int // ranges apart
	changed []told
	spans   []Range // all that the list tells of, changed or not; neighbours are one
	clean   bool    // unchanged ranges are named: the list is a map of a whole disk
	bytes   int64   // of all entries
	parts   bool    // it tells which parts of the disk it is about
}

// fit returns the range, cut at the disk's end where the disk ends within a sector.
func (c *collected) fit(off, length int64) (Range, error) {
	switch whole := min(c.size, math.MaxInt64-sector+1) + sector - 1; {
	case off < 0 || length < 0:
		return Range{}, fmt.Errorf("%d bytes at %d: a number is negative", length, off)
	case length == 0:
		return Range{}, fmt.Errorf("the range at %d has no length", off)
	case off >= c.size || length > whole/sector*sector-off:
		return Range{}, fmt.Errorf("%d bytes at %d are not on the disk, which has %d bytes; is it a list of this disk, in bytes?", length, off, c.size)
	}
	return Range{off, min(length, c.size-off)}, nil
}

func (c *collected) add(off, length int64, dirty bool, at int) error {
	r, err := c.fit(off, length)
	if err != nil {
		return err
	}
	c.bytes = min(c.bytes, math.MaxInt64-r.Len) + r.Len
	if !dirty {
		c.clean = true
	} else if n := len(c.changed) - 1; n >= 0 && c.changed[n].end() == r.Off {
		c.changed[n].Len += r.Len
	} else {
		c.changed = append(c.changed, told{r, at})
	}
	return c.span(r)
}

// about notes that the list tells what changed in a part of the disk.
func (c *collected) about(off, length int64) error {
	c.parts = true
	if length == 0 {
		return nil
	}
	r, err := c.fit(off, length)
	if err != nil {
		return err
	}
	return c.span(r)
}

func (c *collected) span(r Range) error {
	if n := len(c.spans) - 1; n >= 0 && c.spans[n].end() == r.Off {
		c.spans[n].Len += r.Len
	} else {
		c.spans = append(c.spans, r)
	}
	if len(c.changed) > c.most || len(c.spans) > c.most {
		return fmt.Errorf("more than %d ranges apart; join those that lie near one another (more than what changed may be named), or restore without the list", c.most)
	}
	return nil
}

// finish puts the ranges of the list text in order and proves that they fit each
// other.
func (c *collected) finish(text []byte) (Changed, error) {
	slices.SortFunc(c.changed, func(a, b told) int { return cmp.Compare(a.Off, b.Off) })
	out := Changed{}
	for _, r := range c.changed {
		n := len(out) - 1
		switch {
		case n >= 0 && out[n].end() > r.Off:
			return nil, fmt.Errorf("line %d: the range of %d bytes at %d overlaps another: name each byte once", lineOf(text, r.at), r.Len, r.Off)
		case n >= 0 && out[n].end() == r.Off:
			out[n].Len += r.Len
		default:
			out = append(out, r.Range)
		}
	}
	return out, c.covers()
}

// covers proves that a list that tells of the whole disk does: what is cut short, or
// of another disk, would leave changes out.
func (c *collected) covers() error {
	if !c.clean && !c.parts {
		return nil
	}
	slices.SortFunc(c.spans, func(a, b Range) int { return cmp.Compare(a.Off, b.Off) })
	at := int64(0)
	for _, r := range c.spans {
		if r.Off > at {
			break
		}
		at = max(at, r.end())
	}
	if at < c.size {
		return fmt.Errorf("it tells nothing of what is at byte %d of %d: the list of a part of the disk, or of another one; make one of the whole disk", at, c.size)
	}
	if c.clean && !c.parts && c.bytes > c.size {
		return errors.New("its ranges overlap, so what is called clean may be called dirty too: make a map of one bitmap")
	}
	return nil
}
