package ntfs

import (
	"context"
	"fmt"
	"sort"

	"holdfast/fs/guest"
)

// stream is an attribute with all of its parts.
type stream struct {
	attribute        // the first part
	owner     uint64 // the record
	parts     []part // of a non-resident one, in order, at least one
	meta      bool   // read through the cache
	file      *file  // to find parts in other records; nil when all are here
}

// part is what one record holds of a stream's runs.
type part struct {
	attr  *attribute // nil when it is in a record to be read
	entry listed
}

func (p *part) lowest() int64 {
	if p.attr != nil {
		return p.attr.lowest
	}
	return p.entry.lowest
}

// stream finds an attribute by type and name; nil when the file has none.
func (f *FS) stream(ctx context.Context, x *file, kind uint32, name string) (*stream, error) {
	s := &stream{owner: x.number, file: x, meta: kind != attrData}
	if x.list == nil {
		for i := range x.attrs {
			if a := &x.attrs[i]; a.kind == kind && a.name == name {
				s.parts = append(s.parts, part{attr: a})
			}
		}
	} else {
		for _, e := range x.list {
			if e.kind == kind && e.name == name {
				s.parts = append(s.parts, part{entry: e})
			}
		}
	}
	if len(s.parts) == 0 {
		return nil, nil
	}
	for i := range s.parts {
		if low := s.parts[i].lowest(); i == 0 && low != 0 || i > 0 && low <= s.parts[i-1].lowest() {
			return nil, guest.Corrupt("ntfs record %d: part %d of attribute %#x begins at cluster %d", x.number, i, kind, low)
		}
	}
	first, err := f.part(ctx, s, 0)
	if err != nil {
		return nil, err
	}
	s.attribute = *first
	s.parts[0].attr = first
	return s, nil
}

// part gives a part's runs, reading its record if need be.
func (f *FS) part(ctx context.Context, s *stream, i int) (*attribute, error) {
	if a := s.parts[i].attr; a != nil {
		return a, nil
	}
	return f.locate(ctx, s.file, s.parts[i].entry)
}

// run is a run of clusters of a stream.
type run struct {
	start   int64 // in the stream
	count   int64 // at least 1
	cluster int64 // in the volume; -1 for a hole
}

func (r run) end() int64 { return r.start + r.count }

func (r run) hole() bool { return r.cluster < 0 }

// eachRunOf decodes a part's runs (mapping pairs): each is a byte with the
// lengths of two numbers, the run's clusters and the signed distance from the
// run before, which a hole does not have; a zero ends them.
func (f *FS) eachRunOf(a *attribute, fn func(run) bool) error {
	limit := int64(maxVolumeBytes) >> f.g.clusterLog
	at, cluster := a.lowest, int64(0)
	for b := a.runs; len(b) > 0 && b[0] != 0; {
		lengthBytes, deltaBytes := int(b[0]&15), int(b[0]>>4)
		if lengthBytes < 1 || lengthBytes > 8 || deltaBytes > 8 || 1+lengthBytes+deltaBytes > len(b) {
			return guest.Corrupt("a run of %d and %d bytes at cluster %d", lengthBytes, deltaBytes, at)
		}
		r := run{start: at, count: signed(b[1 : 1+lengthBytes]), cluster: -1}
		if r.count < 1 || at > limit-min(r.count, limit) || r.count > limit {
			return guest.Corrupt("a run of %d clusters at %d", r.count, at)
		}
		if deltaBytes > 0 {
			delta := signed(b[1+lengthBytes : 1+lengthBytes+deltaBytes])
			if delta > f.g.clusters || delta < -f.g.clusters {
				return guest.Corrupt("a run that is %d clusters away", delta)
			}
			cluster += delta
			if cluster < -1 || cluster > f.g.clusters || cluster >= 0 && r.count > f.g.clusters-cluster {
				return guest.Corrupt("%d clusters from %d on in a volume of %d", r.count, cluster, f.g.clusters)
			}
			r.cluster = cluster // -1 is a hole of old versions
		}
		if at = r.end(); !fn(r) {
			return nil
		}
		b = b[1+lengthBytes+deltaBytes:]
	}
	if at != a.highest+1 {
		return guest.Corrupt("runs that end at cluster %d, not at %d", at, a.highest+1)
	}
	return nil
}

// signed reads a little-endian number of 1 to 8 bytes.
func signed(b []byte) int64 {
	n := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		n = n<<8 | int64(b[i])
	}
	return n
}

// eachRun calls fn for a stream's runs from one cluster up to another, cut to
// them, in order, until fn returns false. When the runs end before, that is
// damage.
func (f *FS) eachRun(ctx context.Context, s *stream, from, to int64, fn func(run) bool) error {
	if from >= to {
		return nil
	}
	first := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].lowest() > from }) - 1
	at, more := from, true
	for i := max(first, 0); i < len(s.parts) && at < to && more; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, err := f.part(ctx, s, i)
		if err != nil {
			return err
		}
		if a.resident || a.lowest > at {
			return guest.Corrupt("ntfs record %d: no runs of attribute %#x for cluster %d", s.owner, s.kind, at)
		}
		err = f.eachRunOf(a, func(r run) bool {
			if r.end() <= at {
				return true
			}
			if skip := at - r.start; skip > 0 {
				r.start, r.count = at, r.count-skip
				if !r.hole() {
					r.cluster += skip
				}
			}
			r.count = min(r.count, to-r.start)
			at = r.end()
			more = fn(r)
			return more && at < to
		})
		if err != nil {
			return wrapRecord(s.owner, fmt.Errorf("attribute %#x: %w", s.kind, err))
		}
	}
	if more && at < to {
		return guest.Corrupt("ntfs record %d: the runs of attribute %#x end at cluster %d, before %d", s.owner, s.kind, at, to)
	}
	return nil
}

// readStream fills p from off; both lie within the stream's size.
func (f *FS) readStream(ctx context.Context, s *stream, p []byte, off int64) error {
	if s.resident {
		if off > int64(len(s.value)) || int64(len(p)) > int64(len(s.value))-off {
			return guest.Corrupt("ntfs record %d: %d bytes at %d of an attribute of %d", s.owner, len(p), off, len(s.value))
		}
		copy(p, s.value[off:])
		return nil
	}
	switch {
	case s.flags&flagEncrypted != 0:
		return fmt.Errorf("ntfs record %d: its content is encrypted (EFS), which is %w", s.owner, guest.ErrUnsupported)
	case s.flags&flagCompressed > 1:
		return fmt.Errorf("ntfs record %d: compression method %d is %w", s.owner, s.flags&flagCompressed, guest.ErrUnsupported)
	}
	if keep := max(s.initialised-off, 0); keep < int64(len(p)) { // never written
		clear(p[keep:])
		p = p[:keep]
	}
	if len(p) == 0 {
		return nil
	}
	if s.flags&flagCompressed != 0 {
		return f.readUnits(ctx, s, p, off)
	}
	return f.readRuns(ctx, s, p, off)
}

// readRuns fills p from the clusters of a stream that is not compressed.
func (f *FS) readRuns(ctx context.Context, s *stream, p []byte, off int64) error {
	var failed error
	first, done := off>>f.g.clusterLog, 0
	err := f.eachRun(ctx, s, first, f.g.clustersOf(off+int64(len(p))), func(r run) bool {
		within := off + int64(done) - f.g.place(r.start)
		piece := p[done:min(int64(len(p)), int64(done)+f.g.place(r.count)-within)]
		failed = f.readRun(ctx, s, r, piece, within)
		done += len(piece)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// readRun fills p from a place within a run, in bytes.
func (f *FS) readRun(ctx context.Context, s *stream, r run, p []byte, within int64) error {
	switch {
	case r.hole():
		clear(p)
		return nil
	case s.meta:
		return f.readCached(ctx, p, f.g.place(r.cluster)+within)
	}
	return f.readFull(ctx, p, f.g.place(r.cluster)+within)
}

// readAll reads a whole attribute of at most limit bytes; nil when the file has
// none.
func (f *FS) readAll(ctx context.Context, x *file, kind uint32, name string, limit int64) ([]byte, error) {
	s, err := f.stream(ctx, x, kind, name)
	if err != nil || s == nil {
		return nil, err
	}
	if s.size > limit {
		return nil, guest.Corrupt("ntfs record %d: attribute %#x has %d bytes, more than %d", x.number, kind, s.size, limit)
	}
	b := make([]byte, s.size)
	return b, f.readStream(ctx, s, b, 0)
}
