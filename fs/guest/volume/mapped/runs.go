package mapped

import "holdfast/fs/guest"

// Run is a run of a volume that lies byte for byte on a disk.
type Run struct {
	Offset     int64 // in the volume
	Length     int64
	Disk       string // its name
	DiskOffset int64
	// Copy numbers the places where the volume keeps the same bytes; reads
	// take copy 0.
	Copy int
	// Shared says that another volume reads the same bytes of the disk (a
	// snapshot): they are free only where all of these say so.
	Shared bool
}

// EachRun calls visit for the runs of [off, off+length) until it returns
// false: in order of the volume's pieces, the copies of a piece one after
// another. What lies nowhere (holes of thin volumes) and what the disk is too
// short for is left out. The error is that of a damaged mapping.
func (d *Device) EachRun(off, length int64, visit func(Run) bool) error {
	return d.eachRun(off, length, maxEmpty, visit)
}

// maxEmpty pieces in a row may lie nowhere. A sound mapping tells of a hole in
// a few pieces; a hostile tree could tell of it block by block, for ever.
const maxEmpty = 1 << 20

func (d *Device) eachRun(off, length int64, empty int, visit func(Run) bool) error {
	off = max(off, 0)
	w := walker{visit: visit, most: empty}
	_, err := w.walk(d, span{off, off, length}, 0, false)
	return err
}

// walker goes through the pieces of a device.
type walker struct {
	visit       func(Run) bool
	empty, most int // pieces since the last run
}

// Runs collects the runs of [off, off+length); for ranges of a moderate size.
func (d *Device) Runs(off, length int64) ([]Run, error) {
	var runs []Run
	err := d.EachRun(off, length, func(r Run) bool {
		runs = append(runs, r)
		return true
	})
	return runs, err
}

// span is a range of a device, and where it lies in the volume on top.
type span struct{ top, off, length int64 }

func (w *walker) walk(d *Device, s span, copyNo int, shared bool) (more bool, err error) {
	if s.off < 0 || s.off >= d.size {
		return true, nil
	}
	s.length = min(s.length, d.size-s.off)
	if d.mapping == nil {
		if s.length <= 0 {
			return true, nil
		}
		w.empty = 0
		return w.visit(Run{s.top, s.length, d.disk, s.off, copyNo, shared}), nil
	}
	for s.length > 0 {
		if w.empty++; w.empty > w.most {
			return false, guest.Corrupt("more than %d pieces in a row lie nowhere", w.most)
		}
		piece, err := d.piece(s.off, s.length)
		if err != nil {
			return false, err
		}
		number := copyNo
		for _, at := range piece.Places {
			below := span{s.top, at.Off, piece.Length}
			more, err := w.walk(at.On, below, number, shared || piece.Shared)
			if err != nil || !more {
				return false, err
			}
			number += at.On.ways
		}
		s = span{s.top + piece.Length, s.off + piece.Length, s.length - piece.Length}
	}
	return true, nil
}

// Solid tells on which disk and where the device lies when all of it is one
// run there, in one copy or more; ok is false when it does not.
func (d *Device) Solid() (disk string, off int64, ok bool) {
	runs := 0
	const few = 256
	err := d.eachRun(0, d.size, few, func(r Run) bool {
		if r.Copy > 0 {
			return true
		}
		runs++
		disk, off = r.Disk, r.DiskOffset
		ok = r.Offset == 0 && r.Length == d.size
		return runs < 2
	})
	return disk, off, ok && err == nil && runs == 1
}
