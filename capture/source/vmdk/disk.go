package vmdk

import (
	"errors"
	"sort"

	"holdfast/capture/source"
)

// extent is one extent of a disk; exactly one of sparse and flat is set, or
// none for zeros.
type extent struct {
	start, end int64 // guest bytes
	sparse     *sparse
	flat       *source.File
	flatOff    int64 // byte of the flat file where the extent begins
}

// disk is an open image; immutable but for its caches.
type disk struct {
	size    int64
	extents []extent // in order, without gaps
	files   []*source.File
	parent  source.Disk // nil for none
	cid     uint32      // what a child must name as its parent's
}

var _ source.Disk = (*disk)(nil)

func (d *disk) Size() int64 { return d.size }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	return source.ReadAt(p, off, d.size, d.fill)
}

// at finds the extent of guest byte off.
func (d *disk) at(off int64) *extent {
	return &d.extents[sort.Search(len(d.extents), func(i int) bool { return d.extents[i].end > off })]
}

// run describes the run at guest byte off, which ends with its extent, and
// is not followed further than limit bytes.
func (d *disk) run(off, limit int64) (*extent, run, error) {
	e := d.at(off)
	r := run{kind: kindZero, length: e.end - off}
	var err error
	switch {
	case e.flat != nil:
		r.kind, r.host = kindData, e.flatOff+off-e.start
	case e.sparse != nil:
		r, err = e.sparse.run(off-e.start, limit)
	}
	r.length = min(r.length, e.end-off)
	return e, r, err
}

// file is the file that holds the data runs of e.
func (e *extent) file() *source.File {
	if e.flat != nil {
		return e.flat
	}
	return e.sparse.f
}

// fill reads guest bytes that lie wholly in the disk.
func (d *disk) fill(p []byte, off int64) error {
	for len(p) > 0 {
		e, r, err := d.run(off, int64(len(p)))
		if err != nil {
			return err
		}
		part := p[:min(int64(len(p)), r.length)]
		if err := d.fillRun(part, off, e, r); err != nil {
			return err
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return nil
}

// fillRun reads guest bytes that lie wholly in run r of e.
func (d *disk) fillRun(p []byte, off int64, e *extent, r run) error {
	switch r.kind {
	case kindData:
		return e.file().ReadPadded(p, r.host, "data")
	case kindCompressed:
		within := (off - e.start) % e.sparse.h.grain
		grain, err := e.sparse.grainAt(r.host, off-e.start-within)
		if err == nil {
			copy(p, grain[within:])
		}
		return err
	case kindParent:
		return source.ReadBelow(d.parent, p, off)
	}
	clear(p)
	return nil
}

// Extent looks through to the parent, and to the holes of the files.
func (d *disk) Extent(off int64) (source.Extent, error) {
	if err := source.CheckExtent(off, d.size); err != nil {
		return source.Extent{}, err
	}
	e, r, err := d.run(off, d.size-off)
	if err != nil {
		return source.Extent{}, err
	}
	ext := source.Extent{Length: r.length}
	switch r.kind {
	case kindCompressed:
		ext.Data = true
	case kindData:
		ext, err = e.file().Extent(r.host)
	case kindParent:
		if d.parent != nil && off < d.parent.Size() {
			ext, err = d.parent.Extent(off)
		}
	}
	ext.Length = min(ext.Length, r.length)
	return ext, err
}

func (d *disk) Close() error {
	errs := d.closeExtents()
	if d.parent != nil {
		errs = append(errs, d.parent.Close())
	}
	return errors.Join(errs...)
}

func (d *disk) closeExtents() []error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	return errs
}
