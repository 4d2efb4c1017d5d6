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

// bit is a run of a file's content as the maps tell it.
type bit struct {
	sort   bitSort
	id     pack.ID // of a chunk
	from   int64   // in the chunk
	length int64
	whole  bool // it is all of the chunk
}

type bitSort uint8

const (
	zeroBit  bitSort = iota // a hole of the file or of the version
	chunkBit                // bytes of a chunk
	darkBit                 // not told by the maps: compressed, or within the metadata
)

// verdict is what the maps prove of two files of one size.
type verdict struct {
	differ bool
	doubts []span // where they prove nothing, in order; none when differ is set
}

// span is a run of a file, [from, to).
type span struct{ from, to int64 }

// maxDoubts are kept apart; what follows them is one.
const maxDoubts = 1024

// judge compares two files of one size by the maps, and reads no data. Runs of the
// same chunk prove that they are the same. A chunk that lies in the file from end
// to end, beside another of its length, proves a difference: ids are hashes. What
// neither proves is in doubt, as the last chunk mostly is: its block goes on behind
// the file's end.
func judge(ctx context.Context, a *Space, p Place, b *Space, q Place, size int64) (v verdict, err error) {
	one, two := &bits{s: a, p: p, size: size}, &bits{s: b, p: q, size: size}
	for done := int64(0); done < size; {
		x, err := one.next(ctx)
		if err != nil {
			return v, err
		}
		y, err := two.next(ctx)
		if err != nil {
			return v, err
		}
		n := min(x.length, y.length)
		switch {
		case x.same(y):
		case x.whole && y.whole && x.length == y.length && x.id != y.id:
			return verdict{differ: true}, nil
		default:
			v.doubt(done, done+n)
		}
		one.take(n)
		two.take(n)
		done += n
	}
	return v, nil
}

// same tells whether two bits hold the same as far as both go.
func (x bit) same(y bit) bool {
	return x.sort == y.sort && (x.sort == zeroBit || x.sort == chunkBit && x.id == y.id && x.from == y.from)
}

func (v *verdict) doubt(from, to int64) {
	if last := len(v.doubts) - 1; last >= 0 && (v.doubts[last].to == from || last+1 == maxDoubts) {
		v.doubts[last].to = to
		return
	}
	v.doubts = append(v.doubts, span{from, to})
}

// doubtStep is how much of a doubt is read at a time: a difference mostly shows at
// its start.
const doubtStep = pack.MaxChunk

// sameBytes reads a run of two files until they differ. read is told of every step.
func sameBytes(ctx context.Context, a *Space, p Place, b *Space, q Place, run span, read func(n int64)) (bool, error) {
	one, err := a.Open(ctx, p)
	if err != nil {
		return false, err
	}
	two, err := b.Open(ctx, q)
	if err != nil {
		return false, err
	}
	x, y := make([]byte, min(run.to-run.from, doubtStep)), make([]byte, min(run.to-run.from, doubtStep))
	for off := run.from; off < run.to; off += doubtStep {
		n := min(run.to-off, doubtStep)
		read(2 * n)
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
	x.from, x.length, x.whole = x.from+n, x.length-n, false
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
		b.list = append(b.list[:0], bit{sort: darkBit, length: at.Length})
		return nil
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
		if d := v.readers[r.Disk]; d == nil {
			b.list = append(b.list, bit{sort: darkBit, length: r.Length})
		} else if failed = b.run(ctx, d, r.DiskOffset, r.Length); failed != nil {
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
			b.list = append(b.list, bit{chunkBit, e.ID, start - int64(e.Off), end - start, end-start == int64(e.Len)})
			at = end
		}
		if at < from+n {
			b.list = append(b.list, bit{length: from + n - at})
		}
		off, length = off+n, length-n
	}
	return nil
}
