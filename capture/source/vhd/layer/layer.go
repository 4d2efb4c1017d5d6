// Package layer is what VHD and VHDX share: a disk of which each byte lies in
// the image's own file, in its parent's disk, or nowhere (a zero).
//
//	guest offset ──Map──▶ Stored    ──▶ the image's file (Bytes) at FileOff
//	                      Inherited ──▶ the parent's disk at the same offset,
//	                                    zeros where there is no parent or the
//	                                    parent is shorter
//	                      Zeros     ──▶ nothing is read
//
// A format package brings the Map, which reads its tables through Pages, a
// bounded cache. Nothing here writes.
package layer

import (
	"errors"
	"io"

	"holdfast/capture/source"
)

// Kind says where a run of guest bytes lies.
type Kind uint8

const (
	Zeros     Kind = iota // nowhere: it reads as zeros
	Stored                // in the image's own file
	Inherited             // in the parent
)

// Run is a run of guest bytes that lie in one place.
type Run struct {
	Kind    Kind
	Length  int64 // bytes, at least 1
	FileOff int64 // for Stored: where the run begins in the file
}

// Map finds guest bytes. It is safe for concurrent use.
type Map interface {
	// Run describes the run that begins at guest offset off, which lies in
	// the disk; it need not be the longest possible one, and it may end
	// beyond the disk. A Stored run lies in the file as far as the disk
	// goes. It reads tables, never guest data.
	Run(off int64) (Run, error)
}

// Bytes is an image's file as its format reads it: a *source.File, or one
// with an overlay. It is safe for concurrent use.
type Bytes interface {
	Size() int64
	// ReadFull fills p from off or fails; what names the structure.
	ReadFull(p []byte, off int64, what string) error
	// Extent tells data from holes of the file itself.
	Extent(off int64) (source.Extent, error)
}

// Disk is a Map made readable.
type Disk struct {
	Guest  Map
	Bytes  Bytes
	Length int64       // size of the disk in bytes
	Parent *Disk       // nil: what is inherited reads as zeros
	Files  []io.Closer // closed by Close, besides the parent
}

var _ source.Disk = (*Disk)(nil)

const (
	// maxSteps bounds the runs that one call of Extent looks at, through the
	// whole chain, so that a call over a hostile or merely huge map is short.
	maxSteps = 4096
	// maxData is where joining runs of data ends: it saves nothing more.
	maxData = 4 << 20
)

// Size is the guest's disk size in bytes.
func (d *Disk) Size() int64 { return d.Length }

// Close closes the file and the parent.
func (d *Disk) Close() error {
	var errs []error
	errs = append(errs, d.CloseParent())
	for _, c := range d.Files {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// CloseParent closes the parent only: for one who opened the disk, rejects it
// and must leave the file to its owner.
func (d *Disk) CloseParent() error {
	if d.Parent == nil {
		return nil
	}
	return d.Parent.Close()
}

// ReadAt reads guest bytes, see source.Disk.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	return source.ReadAt(p, off, d.Length, d.fill)
}

// fill fills p from off; all of it lies in the disk.
func (d *Disk) fill(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := d.readRun(p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readRun fills the front of p as far as the run at off goes.
func (d *Disk) readRun(p []byte, off int64) (int, error) {
	run, err := d.Guest.Run(off)
	if err != nil {
		return 0, err
	}
	p = p[:min(run.Length, int64(len(p)))]
	switch run.Kind {
	case Stored:
		err = d.Bytes.ReadFull(p, run.FileOff, "guest data")
	case Inherited:
		err = d.readParent(p, off)
	default:
		clear(p)
	}
	return len(p), err
}

// readParent fills p from the parent; what lies beyond its end is zeros.
func (d *Disk) readParent(p []byte, off int64) error {
	var n int
	if d.Parent != nil && off < d.Parent.Size() {
		n = int(min(int64(len(p)), d.Parent.Size()-off))
		if got, err := d.Parent.ReadAt(p[:n], off); got < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // a short parent must not look like the end of the disk
			}
			return err
		}
	}
	clear(p[n:])
	return nil
}

// Extent describes the run at off, see source.Disk.
func (d *Disk) Extent(off int64) (source.Extent, error) {
	if err := source.CheckExtent(off, d.Length); err != nil {
		return source.Extent{}, err
	}
	steps := maxSteps
	return d.extent(off, d.Length-off, &steps)
}

// extent joins the equal runs from off on, for at most limit bytes and as long
// as there are steps left. It makes at least one step.
func (d *Disk) extent(off, limit int64, steps *int) (source.Extent, error) {
	whole, err := d.extentRun(off, limit, steps)
	for err == nil && *steps > 0 && whole.Length < limit && !(whole.Data && whole.Length >= maxData) {
		next, err := d.extentRun(off+whole.Length, limit-whole.Length, steps)
		if err != nil || next.Data != whole.Data {
			// What was found so far holds; the error shows up at its own place.
			break
		}
		whole.Length += next.Length
	}
	return whole, err
}

// extentRun is extent for the single run at off.
func (d *Disk) extentRun(off, limit int64, steps *int) (source.Extent, error) {
	*steps--
	run, err := d.Guest.Run(off)
	if err != nil {
		return source.Extent{}, err
	}
	e := source.Extent{Length: min(run.Length, limit)}
	var below source.Extent
	switch {
	case run.Kind == Stored:
		// A sparse image file has holes of its own inside stored blocks.
		below, err = d.Bytes.Extent(run.FileOff)
	case run.Kind == Inherited && d.Parent != nil && off < d.Parent.Length:
		below, err = d.Parent.extent(off, min(e.Length, d.Parent.Length-off), steps)
	default:
		return e, nil
	}
	if err != nil {
		return source.Extent{}, err
	}
	return source.Extent{Length: min(e.Length, below.Length), Data: below.Data}, nil
}
