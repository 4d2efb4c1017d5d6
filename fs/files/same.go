package files

import (
	"bytes"
	"context"
	"errors"
	"io"

	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
	"holdfast/fs/guest/volume"
)

// bit is a run of a file's content as the maps tell it: bytes of a chunk, or
// zeros where the id is none.
type bit struct {
	id     pack.ID
	from   int64 // in the chunk
	length int64
}

// errUntold says that the maps don't tell what a file holds: it is compressed, or
// lies in the metadata.
var errUntold = errors.New("the content is not told by the maps")

// sameContent tells whether the maps prove that two files of one size hold the
// same. It reads no data. false means that it is not proved: the same bytes may
// be cut into other chunks.
func sameContent(ctx context.Context, a *Space, p Place, b *Space, q Place, size int64) (bool, error) {
	one, two := &bits{s: a, p: p, size: size}, &bits{s: b, p: q, size: size}
	for done := int64(0); done < size; {
		x, err := one.next(ctx)
		if err != nil {
			return false, untold(err)
		}
		y, err := two.next(ctx)
		if err != nil {
			return false, untold(err)
		}
		if x.id != y.id || !x.id.IsZero() && x.from != y.from {
			return false, nil
		}
		n := min(x.length, y.length)
		one.take(n)
		two.take(n)
		done += n
	}
	return true, nil
}

// sameBytes reads two files of one size until they differ.
func sameBytes(ctx context.Context, a *Space, p Place, b *Space, q Place, size int64) (bool, error) {
	one, err := a.Open(ctx, p)
	if err != nil {
		return false, err
	}
	two, err := b.Open(ctx, q)
	if err != nil {
		return false, err
	}
	x, y := make([]byte, min(size, readStep)), make([]byte, min(size, readStep))
	for off := int64(0); off < size; off += readStep {
		n := min(size-off, readStep)
		if err := readAll(ctx, one, p.Node, x[:n], off); err != nil {
			return false, err
		}
		if err := readAll(ctx, two, q.Node, y[:n], off); err != nil {
			return false, err
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// readAll fills b; a file that ends within it is not as long as it says.
func readAll(ctx context.Context, fs guest.Filesystem, n guest.Node, b []byte, off int64) error {
	got, err := fs.ReadAt(ctx, n, b, off)
	if got == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func untold(err error) error {
	if errors.Is(err, errUntold) {
		return nil
	}
	return err
}

// bits goes through a file's content as the maps tell it.
type bits struct {
	s    *Space
	p    Place
	size int64
	at   int64
	list []bit
}

// maxBits are looked up at a time.
const maxBits = 1024

func (b *bits) next(ctx context.Context) (bit, error) {
	if len(b.list) == 0 {
		if err := b.fill(ctx); err != nil {
			return bit{}, err
		}
	}
	return b.list[0], nil
}

func (b *bits) take(n int64) {
	x := &b.list[0]
	x.from, x.length = x.from+n, x.length-n
	b.at += n
	if x.length == 0 {
		b.list = b.list[1:]
	}
}

// fill looks up the extent at which the file's end of what was taken lies.
func (b *bits) fill(ctx context.Context) error {
	if b.at >= b.size {
		return io.ErrUnexpectedEOF
	}
	fs, err := b.s.Open(ctx, b.p)
	if err != nil {
		return err
	}
	at := guest.Extent{Offset: b.at, Length: b.size - b.at, Hole: true} // where no extent is told
	err = fs.Extents(ctx, b.p.Node, b.at, func(e guest.Extent) bool {
		if e.Offset+e.Length <= b.at {
			return true
		}
		if e.Offset > b.at {
			at.Length = min(at.Length, e.Offset-b.at)
		} else {
			skip := b.at - e.Offset
			at = guest.Extent{Offset: b.at, Length: min(e.Length-skip, b.size-b.at), Place: e.Place, Hole: e.Hole}
			if e.Place >= 0 {
				at.Place += skip
			}
		}
		return false
	})
	switch {
	case err != nil:
		return err
	case at.Hole:
		b.list = append(b.list[:0], bit{length: at.Length})
		return nil
	case at.Place < 0:
		return errUntold
	}
	return b.place(ctx, at.Place, min(at.Length, disk.RegionSize))
}

// place looks up a range of the volume.
func (b *bits) place(ctx context.Context, off, length int64) error {
	b.list = b.list[:0]
	v := b.s.Volume(b.p)
	end, full := off, false
	var failed error
	err := v.EachRun(off, length, func(r volume.Run) bool {
		if r.Copy > 0 {
			return true
		}
		if r.Offset > end {
			b.list = append(b.list, bit{length: r.Offset - end})
		}
		d := v.readers[r.Disk]
		if d == nil {
			failed = errUntold
			return false
		}
		if failed = b.run(ctx, d, r.DiskOffset, r.Length); failed != nil {
			return false
		}
		end = r.Offset + r.Length
		full = len(b.list) > maxBits
		return !full
	})
	if failed != nil {
		return failed
	}
	if rest := off + length - end; err == nil && rest > 0 && !full {
		b.list = append(b.list, bit{length: rest})
	}
	return err
}

// run looks up a range of a disk.
func (b *bits) run(ctx context.Context, d *disk.Reader, off, length int64) error {
	for length > 0 {
		region, from := off/disk.RegionSize, off%disk.RegionSize
		n := min(length, disk.RegionSize-from)
		m, err := d.RegionMap(ctx, region)
		if err != nil {
			return err
		}
		at := from
		for _, e := range m {
			start, end := max(int64(e.Off), at), min(int64(e.Off+e.Len), from+n)
			if start >= end {
				continue
			}
			if start > at {
				b.list = append(b.list, bit{length: start - at})
			}
			b.list = append(b.list, bit{e.ID, start - int64(e.Off), end - start})
			at = end
		}
		if at < from+n {
			b.list = append(b.list, bit{length: from + n - at})
		}
		off, length = off+n, length-n
	}
	return nil
}
