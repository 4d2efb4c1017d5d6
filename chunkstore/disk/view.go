package disk

import (
	"context"
	"fmt"

	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/pack"
)

// Segment is a run of a disk: bytes of a chunk that the caller holds, or zeros.
type Segment struct {
	Len   int
	from  int // in the chunk
	want  int // the chunk's plain length, as the map says
	chunk *cache.Chunk
}

// Bytes returns the segment's bytes, valid until Release and never to be
// changed, or nil when it is Len zeros.
func (s *Segment) Bytes() []byte {
	if s.chunk == nil {
		return nil
	}
	return s.chunk.Slice(s.from, s.from+s.Len)
}

// Release gives the segment's chunk back. The segment is zeros afterwards.
func (s *Segment) Release() {
	if s.chunk != nil {
		s.chunk.Release()
		s.chunk = nil
	}
}

// Pass is Release for who reads the disk front to back: where the segment ends its
// chunk, nobody is known to want that again.
func (s *Segment) Pass() {
	if s.chunk != nil && s.from+s.Len == s.want {
		s.chunk.Pass()
		s.chunk = nil
	}
	s.Release()
}

// Release releases all of segs.
func Release(segs []Segment) {
	for i := range segs {
		segs[i].Release()
	}
}

// Pass passes all of segs.
func Pass(segs []Segment) {
	for i := range segs {
		segs[i].Pass()
	}
}

// View appends the segments that make up the n bytes of the disk from off to
// segs, without copying: they hold their chunks in memory until they are
// released, so n should be bounded by the caller (1 MiB is 17 chunks of the
// fixed grid at most). The chunks are loaded in parallel. After an error segs
// is as it was and nothing is held. 0 <= off, off+n <= Size.
func (r *Reader) View(ctx context.Context, off int64, n int, segs []Segment) ([]Segment, error) {
	return r.view(ctx, off, n, segs, false)
}

// ViewAlone is View for a read that others around it are not expected to follow:
// of chunks that it wants half of or less, it loads no more than it must.
func (r *Reader) ViewAlone(ctx context.Context, off int64, n int, segs []Segment) ([]Segment, error) {
	return r.view(ctx, off, n, segs, r.chunks.PartSize() > 0)
}

func (r *Reader) view(ctx context.Context, off int64, n int, segs []Segment, alone bool) ([]Segment, error) {
	if err := r.checkRange(off, n); err != nil {
		return segs, err
	}
	added, err := r.begin(ctx, off, n, segs[len(segs):], alone)
	if err == nil {
		err = wait(ctx, off, added)
	}
	if err != nil {
		Release(added)
		return segs, fmt.Errorf("read disk, %d bytes at %d: %w", n, off, err)
	}
	return append(segs, added...), nil
}

// wait waits for the chunks of segs, which begin at off.
func wait(ctx context.Context, off int64, segs []Segment) error {
	for i := range segs {
		s := &segs[i]
		if s.chunk != nil {
			if err := s.chunk.Wait(ctx, s.want); err != nil {
				return fmt.Errorf("extent with byte %d: %w", off, err)
			}
		}
		off += int64(s.Len)
	}
	return nil
}

func (r *Reader) checkRange(off int64, n int) error {
	if off < 0 || n < 0 || off > r.m.Size-int64(n) {
		return fmt.Errorf("read disk: %d bytes at %d are outside of its %d", n, off, r.m.Size)
	}
	return nil
}

// begin appends the segments of a range whose chunks may still be loading.
func (r *Reader) begin(ctx context.Context, off int64, n int, segs []Segment, alone bool) ([]Segment, error) {
	for n > 0 {
		no, from := off/RegionSize, int(off%RegionSize)
		part := min(n, RegionSize-from)
		m, err := r.region(ctx, r.find, no)
		if err != nil {
			return segs, err
		}
		if m == nil {
			segs = addZeros(segs, part)
		} else {
			segs = r.beginRegion(m, from, part, segs, alone)
		}
		off, n = off+int64(part), n-part
	}
	return segs, nil
}

func (r *Reader) beginRegion(m *region, from, n int, segs []Segment, alone bool) []Segment {
	for i, _ := m.find(from); n > 0; i++ {
		if i == m.n || m.off(i) >= from+n {
			return addZeros(segs, n)
		}
		off, want := m.off(i), m.len(i)
		if gap := off - from; gap > 0 {
			segs = addZeros(segs, gap)
			from, n = off, n-gap
		}
		part := min(n, off+want-from)
		if alone {
			segs = r.beginParts(m.id(i), from-off, part, want, segs)
		} else {
			segs = append(segs, Segment{part, from - off, want, r.chunks.Begin(m.id(i), want)})
		}
		from, n = from+part, n-part
	}
	return segs
}

// beginParts appends the n bytes from from on of a chunk that is want bytes
// long, in segments of one of its parts each, or as one of the whole chunk.
func (r *Reader) beginParts(id pack.ID, from, n, want int, segs []Segment) []Segment {
	size := r.chunks.PartSize()
	first, last := from/size, (from+n-1)/size
	if 2*(last-first+1)*size > want {
		return append(segs, Segment{n, from, want, r.chunks.Begin(id, want)})
	}
	for i := first; i <= last; i++ {
		to := min(from+n, (i+1)*size)
		segs = append(segs, Segment{to - from, from, want, r.chunks.BeginPart(id, want, i)})
		from, n = to, n-(to-from)
	}
	return segs
}

// addZeros appends n zeros, to the last segment if that is zeros too.
func addZeros(segs []Segment, n int) []Segment {
	if last := len(segs) - 1; last >= 0 && segs[last].chunk == nil {
		segs[last].Len += n
		return segs
	}
	return append(segs, Segment{Len: n})
}
