package ntfs

import (
	"context"
	"fmt"
	"io"

	"holdfast/fs/guest"
)

// content is where the bytes of a regular file come from.
type content struct {
	number uint64
	size   int64
	stream *stream // nil for an empty file, and with wof
	wof    *wof
}

// content finds a regular file's bytes.
func (f *FS) content(ctx context.Context, in *inode) (*content, error) {
	c := &content{number: in.number, size: in.size, stream: in.data}
	if in.data == nil || in.size == 0 {
		c.size, c.stream = 0, nil
		return c, nil
	}
	switch {
	case in.tag == tagWOF:
		w, err := f.wof(ctx, in.file, in.reparse, in.size)
		c.stream, c.wof = nil, w
		return c, err
	case in.tag == tagDedup:
		return nil, fmt.Errorf("ntfs record %d: content that Windows has deduplicated is %w", in.number, guest.ErrUnsupported)
	case in.tag != 0 && in.dos&(dosOffline|dosRecallData) != 0:
		return nil, fmt.Errorf("ntfs record %d: content that lies elsewhere (reparse tag %#x) is %w", in.number, in.tag, guest.ErrUnsupported)
	}
	return c, nil
}

// ReadAt implements guest.Filesystem.
func (f *FS) ReadAt(ctx context.Context, n guest.Node, p []byte, off int64) (int, error) {
	c, err := f.regular(ctx, n)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, fmt.Errorf("ntfs record %d: read at %d", c.number, off)
	case off >= c.size:
		return 0, io.EOF
	}
	var end error
	if rest := c.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	if c.wof != nil {
		err = f.readWOF(ctx, c.wof, p, off)
	} else {
		err = f.readStream(ctx, c.stream, p, off)
	}
	if err != nil {
		return 0, fmt.Errorf("read at %d: %w", off, err)
	}
	return len(p), end
}

// Extents implements guest.Filesystem. What was never written (behind the
// initialised size) is a hole. Compressed units that are stored as they are have
// a place; packed ones, encrypted content and content in the record have none.
func (f *FS) Extents(ctx context.Context, n guest.Node, from int64, fn func(guest.Extent) bool) error {
	c, err := f.regular(ctx, n)
	if err != nil {
		return err
	}
	return f.eachExtent(ctx, c, max(from, 0), fn)
}

// eachExtent calls fn for the extents of a file that reach beyond from.
func (f *FS) eachExtent(ctx context.Context, c *content, from int64, fn func(guest.Extent) bool) error {
	if from >= c.size {
		return nil
	}
	s := c.stream
	if s == nil || s.resident || s.flags&flagEncrypted != 0 {
		fn(guest.Extent{Length: c.size, Place: -1})
		return nil
	}
	g := &extents{fn: fn, size: c.size, written: min(max(s.initialised, 0), c.size)}
	if err := f.giveExtents(ctx, s, g, from); err != nil {
		return err
	}
	if !g.stopped && g.open.Length > 0 {
		fn(g.open)
	}
	return nil
}

func (f *FS) giveExtents(ctx context.Context, s *stream, g *extents, from int64) error {
	if from >= g.written { // all that is left was never written
		g.add(guest.Extent{Offset: g.written, Length: g.size - g.written, Place: -1, Hole: true})
		return nil
	}
	var err error
	if s.flags&flagCompressed != 0 {
		err = f.compressedExtents(ctx, s, from, g)
	} else {
		err = f.eachRun(ctx, s, from>>f.g.clusterLog, f.g.clustersOf(g.written), func(r run) bool { return f.addRun(g, r) })
	}
	if err == nil && !g.stopped && g.written < g.size {
		g.add(guest.Extent{Offset: g.written, Length: g.size - g.written, Place: -1, Hole: true})
	}
	return err
}

func (f *FS) addRun(g *extents, r run) bool {
	e := guest.Extent{Offset: f.g.place(r.start), Length: f.g.place(r.count), Place: -1, Hole: r.hole()}
	if !e.Hole {
		e.Place = f.g.place(r.cluster)
	}
	e.Length = min(e.Length, g.written-e.Offset)
	return e.Length <= 0 || g.add(e)
}

// compressedExtents turns units into extents.
func (f *FS) compressedExtents(ctx context.Context, s *stream, from int64, g *extents) error {
	if err := f.checkUnits(s); err != nil {
		return err
	}
	n := int64(1) << s.unitLog
	end := int64(0)
	err := f.eachUnit(ctx, s, from>>f.g.clusterLog&^(n-1), (f.g.clustersOf(g.written)+n-1)&^(n-1), func(u units) bool {
		end = f.g.place(u.start + u.count)
		if u.hole() || u.data == u.count {
			for _, r := range u.runs {
				if !f.addRun(g, r) {
					return false
				}
			}
			if u.hole() && len(u.runs) > 0 { // the runs may end before the unit
				last := u.runs[len(u.runs)-1].end()
				return f.addRun(g, run{start: last, count: u.start + u.count - last, cluster: -1})
			}
			return true
		}
		e := guest.Extent{Offset: f.g.place(u.start), Place: -1}
		e.Length = min(f.g.place(u.count), g.written-e.Offset)
		return e.Length <= 0 || g.add(e)
	})
	if err == nil && !g.stopped && end < g.written {
		return guest.Corrupt("ntfs record %d: its compressed runs end at byte %d", s.owner, end)
	}
	return err
}

// extents joins extents on their way to fn.
type extents struct {
	fn            func(guest.Extent) bool
	size, written int64
	open          guest.Extent // not yet given
	stopped       bool
}

// add gives an extent that follows the ones before.
func (g *extents) add(e guest.Extent) bool {
	o := &g.open
	switch {
	case o.Length > 0 && o.Hole == e.Hole && (o.Place < 0 && e.Place < 0 || o.Place >= 0 && o.Place+o.Length == e.Place):
		o.Length += e.Length
	case o.Length > 0 && !g.fn(*o):
		g.stopped, g.open = true, guest.Extent{}
		return false
	default:
		g.open = e
	}
	return true
}
