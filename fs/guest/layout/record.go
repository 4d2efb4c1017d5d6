package layout

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume"
)

// edge is what is never out at both ends of a volume.
const edge = 64 << 10

// recorder turns what a filesystem says of its volume into bits of disks.
type recorder struct {
	*scan
	v     *volume.Volume
	block int64        // of the filesystem
	paged []guest.Node // page files, which are out

	// Guarded by mu, since a reader may have been left behind:
	wrong  error // why the walk was ended
	marks  int64 // made so far
	denied bool  // a file has what is free
	ended  bool  // nothing more is recorded
	image  bool  // a file holds the memory of a guest that sleeps
}

var (
	errContradiction = errors.New("its free space contradicts its files")
	errTooMany       = errors.New("its files have more extents than it has blocks")
)

// end closes the record. With an error nothing of the volume is out.
func (r *recorder) end(err error) {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	if err != nil {
		r.forget()
	}
}

// forget takes back what is out of the volume.
func (r *recorder) forget() {
	if !r.options.Free && !r.options.Swap {
		return
	}
	err := r.v.EachRun(0, r.v.Device.Size(), func(run volume.Run) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p, ok := r.plane(run.Disk, outPlane); ok && !run.Shared {
			r.pages.set(p, run.DiskOffset, run.DiskOffset+run.Length, false)
		}
		return true
	})
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pages.fail(err)
	}
}

// broken is why the walk was ended.
func (r *recorder) broken() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wrong
}

// free records a free range.
func (r *recorder) free(f guest.Range) bool {
	if r.options.Free {
		r.leaveOut(f)
	}
	return r.broken() == nil
}

// leaveOut records that a range of the volume is out, but for its edges.
func (r *recorder) leaveOut(f guest.Range) {
	from, to := max(f.Offset, edge), min(f.Offset+f.Length, r.v.Device.Size()-edge)
	if f.Offset < 0 || f.Length < 0 || f.Offset+f.Length < f.Offset || from >= to {
		return
	}
	r.each(from, to-from, func(p plane, run volume.Run) {
		if !run.Shared {
			p.kind = outPlane
			r.pages.set(p, run.DiskOffset, run.DiskOffset+run.Length, true)
		}
	})
}

// file records an extent of a file.
func (r *recorder) file(n guest.Node, fileSize int64, e guest.Extent) bool {
	size := r.v.Device.Size()
	if e.Hole || e.Place < 0 || e.Place >= size || e.Offset < 0 || e.Length < 1 {
		return true
	}
	// The rest of the last block is the file's.
	length := size - e.Place
	if e.Length < length {
		length = min(length, (e.Length+r.block-1)/r.block*r.block)
	}
	if e.Offset == 0 && fileSize >= sleepBytes && (r.options.Free || r.options.Swap) {
		r.lookForSleep(e.Place, length)
	}
	paged := slices.Contains(r.paged, n)
	r.each(e.Place, length, func(p plane, run volume.Run) {
		r.cut(p, run, e.Offset+run.Offset-e.Place)
		if !paged {
			r.inUse(p, run)
		}
	})
	return r.broken() == nil
}

// sleepBytes is the least size of a file into which a guest goes to sleep.
const sleepBytes = 16 << 20

// lookForSleep looks whether a file is a swap file into which the guest has gone
// to sleep: it bears the mark that a volume would.
func (r *recorder) lookForSleep(place, length int64) {
	asleep, err := volume.Asleep(io.NewSectionReader(r.v, place, min(length, 64<<10)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.image = r.image || asleep
	if r.wrong == nil {
		r.wrong = err
	}
}

// sleeps says whether a file holds the memory of a guest that sleeps.
func (r *recorder) sleeps() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.image
}

// each calls fn for the runs of a range of the volume.
func (r *recorder) each(from, length int64, fn func(plane, volume.Run)) {
	err := r.v.EachRun(from, length, func(run volume.Run) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p, ok := r.plane(run.Disk, cutPlane); ok && !r.ended {
			r.marks += 1 + run.Length/MaxCell
			fn(p, run)
		}
		return !r.ended
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.wrong != nil:
	case err != nil:
		r.wrong = fmt.Errorf("where its files lie: %w", err)
	case r.ended:
		r.wrong = errAbandoned
	case r.marks > r.v.Device.Size()/fine*4+1<<20:
		r.wrong = errTooMany
	case r.pages.err != nil:
		r.wrong = r.pages.err
	}
}

// cut marks the cuts of a run that holds a file from offset off on.
func (r *recorder) cut(p plane, run volume.Run, off int64) {
	begin, end := run.DiskOffset, run.DiskOffset+run.Length
	if r.options.Cuts {
		r.pages.mark(p, begin)
		for at := begin + MaxCell - off%MaxCell; at < end; at += MaxCell {
			r.pages.mark(p, at)
		}
		r.pages.mark(p, end)
	}
}

// inUse records that a file has a run, whatever the filesystem says of it.
func (r *recorder) inUse(p plane, run volume.Run) {
	begin, end := run.DiskOffset, run.DiskOffset+run.Length
	p.kind = outPlane
	unit := r.pages.unit(p, begin)
	if begin = begin / unit * unit; r.pages.next(p, begin, end, true) < end {
		r.pages.set(p, begin, end+unit-1, false)
		r.denied = true
	}
}
