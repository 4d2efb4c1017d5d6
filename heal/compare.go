package heal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// Source is what a version is compared with: a disk as it is now. Extent says
// how long the run at off is and whether it holds data; a run without data
// reads as zeros.
type Source interface {
	io.ReaderAt
	Size() int64
	Extent(off int64) (length int64, data bool, err error)
}

// LeavesOut is a Source that knows what a capture of it leaves out: where
// LeftOut says so and the version reads as zeros, the two don't differ. It is
// asked only where bytes differ, in sectors of 512 bytes.
type LeavesOut interface {
	LeftOut(off, length int64) bool
}

// Range is a run of a disk's bytes.
type Range struct {
	Disk   string `json:"disk"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// HurtRange is a run of a version's disk that did not come back, and so was not
// compared.
type HurtRange struct {
	Disk   string `json:"disk"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Chunk  string `json:"chunk,omitempty"` // the one that is damaged, where that is known
	What   string `json:"what"`            // it holds: data, or the map of this run
	Kind   string `json:"kind"`            // corrupt, missing or unreadable
}

// Comparison is a version held against its source.
type Comparison struct {
	Compared    int64       `json:"compared_bytes,omitempty"`
	Differ      []Range     `json:"differ,omitempty"`
	DifferBytes int64       `json:"differ_bytes,omitempty"` // also those that are not listed
	Lost        []HurtRange `json:"lost,omitempty"`         // that could not be compared
	LostBytes   int64       `json:"lost_bytes,omitempty"`
	Unlisted    int         `json:"unlisted_ranges,omitempty"` // beyond the bound of each list
}

// Damaged reports whether something did not come back for more than an I/O error.
func (c *Comparison) Damaged() bool {
	for _, l := range c.Lost {
		if l.Kind != pack.Unreadable.String() {
			return true
		}
	}
	return false
}

const (
	compareStep = 1 << 20
	compareUnit = 4096 // differing ranges are told in these
	// maxRanges bounds each list of a comparison. What is not listed is counted.
	maxRanges = 50000
)

// Compare compares a disk of a version with a source, byte by byte, and adds what
// it finds to into: where they differ, in units of 4096 bytes, and what of the
// version did not come back. Neither ends it. Where both have a hole nothing is
// read. get may be any store. It holds 2 MiB, a cache of 16 MiB, and each list up
// to 50,000 ranges.
func Compare(ctx context.Context, get cache.Getter, d *catalog.Disk, src Source, progress *Progress, into *Comparison) error {
	get = &onceDamaged{Getter: get, dead: map[pack.ID]error{}}
	chunks, err := cache.New(get, cache.Options{Bytes: 16 << 20})
	if err != nil {
		return err
	}
	defer chunks.Close()
	r, err := disk.Open(chunks, disk.NewMaps(get, 0), d.Map)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = new(Progress)
	}
	progress.Total.Add(r.Size())
	c := &comparison{Comparison: into, r: r, src: src, name: d.Name, lacks: func(int64, int64) bool { return false }}
	c.a, c.b = make([]byte, compareStep), make([]byte, compareStep)
	end := min(r.Size(), src.Size())
	if l, ok := src.(LeavesOut); ok {
		c.lacks = l.LeftOut
	}
	if r.Size() != src.Size() {
		c.differs(end, max(r.Size(), src.Size())-end)
	}
	for off := int64(0); off < end; {
		length, hole, err := c.bothHoles(ctx, off)
		if err != nil {
			return err
		}
		step := min(length, end-off)
		if hole {
			c.Compared += step
		} else {
			step = min(step, compareStep)
			if err := c.step(ctx, off, step); err != nil {
				return err
			}
		}
		off += step
		progress.Done.Add(step)
	}
	return nil
}

// maxDead bounds the damaged chunks that a comparison remembers.
const maxDead = 100000

// onceDamaged asks for a damaged chunk once: each time the store would try to heal it
// from its pack, its replicas and the live source, and say so in the log. A map of a
// large disk that did not come back is asked for three times in each MiB below it.
type onceDamaged struct {
	cache.Getter

	mu   sync.Mutex // guards dead
	dead map[pack.ID]error
}

// Get implements cache.Getter.
func (o *onceDamaged) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	o.mu.Lock()
	err := o.dead[id]
	o.mu.Unlock()
	if err != nil {
		return nil, err
	}
	plain, err := o.Getter.Get(ctx, id, buf)
	if _, hurt := damageIn(err, id); hurt && ctx.Err() == nil {
		o.mu.Lock()
		if len(o.dead) < maxDead {
			o.dead[id] = err
		}
		o.mu.Unlock()
	}
	return plain, err
}

// comparison is a Comparison under way.
type comparison struct {
	*Comparison
	r     *disk.Reader
	src   Source
	name  string // of the disk
	lacks func(off, length int64) bool
	a, b  []byte // a step of the version and of the source
}

// bothHoles returns the length of the run at off, and whether neither side
// stores anything there. A run whose map did not come back is none.
func (c *comparison) bothHoles(ctx context.Context, off int64) (int64, bool, error) {
	n, data, err := c.r.Extent(ctx, off)
	if _, hurt := damageIn(err, pack.ID{}); hurt && ctx.Err() == nil {
		return disk.RegionSize - off%disk.RegionSize, false, nil // it may be another region's map: reading tells
	}
	if err != nil {
		return 0, false, err
	}
	m, sdata, err := c.src.Extent(off)
	if err != nil {
		return 0, false, fmt.Errorf("extent of the source at %d: %w", off, err)
	}
	if data || sdata {
		return compareStep, false, nil
	}
	return max(1, min(n, m)), true, nil
}

// step compares a run of at most compareStep bytes; where it does not come back as
// a whole, extent by extent.
func (c *comparison) step(ctx context.Context, off, n int64) error {
	if got, err := c.src.ReadAt(c.b[:n], off); int64(got) < n {
		return fmt.Errorf("read source, %d bytes at %d: %w", n, off, errors.Join(err, io.ErrUnexpectedEOF))
	}
	err := c.r.ReadAtContext(ctx, c.a[:n], off)
	if err == nil {
		c.compare(off, c.a[:n], c.b[:n])
		return nil
	}
	if _, hurt := damageIn(err, pack.ID{}); !hurt || ctx.Err() != nil {
		return err
	}
	for at := off; at < off+n; {
		end := min(off+n, (at/disk.RegionSize+1)*disk.RegionSize)
		if err := c.region(ctx, at, end, c.b[at-off:end-off]); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// region compares what lies from off to end, within one region, extent by extent.
// b is what the source has there.
func (c *comparison) region(ctx context.Context, off, end int64, b []byte) error {
	no := off / disk.RegionSize
	m, err := c.r.RegionMap(ctx, no)
	if err != nil {
		return c.lost(ctx, err, off, end, "map", pack.ID{})
	}
	at := off
	part := func(to int64, id pack.ID) error {
		to = min(to, end)
		if to <= at {
			return nil
		}
		p, from := c.a[:to-at], at
		at = to
		if err := c.r.ReadAtContext(ctx, p, from); err != nil {
			return c.lost(ctx, err, from, to, pack.KindData.String(), id)
		}
		c.compare(from, p, b[from-off:to-off])
		return nil
	}
	for _, e := range m {
		start := no*disk.RegionSize + int64(e.Off)
		if start >= end {
			break
		}
		if err := part(start, pack.ID{}); err != nil { // the hole before it
			return err
		}
		if err := part(start+int64(e.Len), e.ID); err != nil {
			return err
		}
	}
	return part(end, pack.ID{})
}

// lost takes in a run that did not come back; any other error is returned.
func (c *comparison) lost(ctx context.Context, err error, off, end int64, what string, id pack.ID) error {
	d, hurt := damageIn(err, id)
	if !hurt || ctx.Err() != nil {
		return err
	}
	c.LostBytes += end - off
	l := HurtRange{Disk: c.name, Offset: off, Length: end - off, What: what, Kind: d.Kind.String()}
	if !d.ID.IsZero() {
		l.Chunk = d.ID.String()
	}
	if last := len(c.Lost) - 1; last >= 0 {
		p := &c.Lost[last]
		if p.Disk == c.name && p.Chunk == l.Chunk && p.What == what && p.Kind == l.Kind && p.Offset+p.Length == off {
			p.Length += l.Length
			return nil
		}
	}
	if len(c.Lost) == maxRanges {
		c.Unlisted++
		return nil
	}
	c.Lost = append(c.Lost, l)
	return nil
}

// damageIn returns the damage that an error means. A chunk that the store does not
// know, though a map names it, is missing.
func damageIn(err error, id pack.ID) (*pack.Damage, bool) {
	if d, ok := errors.AsType[*pack.Damage](err); ok {
		return d, true
	}
	if errors.Is(err, chunkstore.ErrNotFound) {
		return &pack.Damage{Kind: pack.Missing, ID: id, Err: err}, true
	}
	return nil, false
}

// compare compares bytes of the version (a) with the source's, in units.
func (c *comparison) compare(off int64, a, b []byte) {
	c.Compared += int64(len(a))
	for from := 0; from < len(a); {
		to := min(len(a), from+compareUnit-int((off+int64(from))%compareUnit))
		if !equalUnit(a[from:to], b[from:to], off+int64(from), c.lacks) {
			c.differs(off+int64(from), int64(to-from))
		}
		from = to
	}
}

// differs adds a range, to the last one where they are neighbours.
func (c *comparison) differs(off, n int64) {
	c.DifferBytes += n
	if last := len(c.Differ) - 1; last >= 0 {
		if p := &c.Differ[last]; p.Disk == c.name && p.Offset+p.Length == off {
			p.Length += n
			return
		}
	}
	if len(c.Differ) == maxRanges {
		c.Unlisted++
		return
	}
	c.Differ = append(c.Differ, Range{c.name, off, n})
}

// equalUnit compares a unit; sectors that were left out are equal to any.
func equalUnit(a, b []byte, off int64, lacks func(off, length int64) bool) bool {
	if string(a) == string(b) {
		return true
	}
	const sector = 512
	var zeros [sector]byte
	for from := 0; from < len(a); {
		to := min(len(a), from+sector-int((off+int64(from))%sector))
		if string(a[from:to]) != string(b[from:to]) {
			if string(a[from:to]) != string(zeros[:to-from]) || !lacks(off+int64(from), int64(to-from)) {
				return false
			}
		}
		from = to
	}
	return true
}
