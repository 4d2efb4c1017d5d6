package vhdx

import (
	"slices"
	"sort"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

// overlay is a file with writes over it that are not made. It keeps where in
// the log the bytes lie, not the bytes. It is immutable, so safe for
// concurrent use.
type overlay struct {
	file *source.File
	size int64
	runs []write // sorted, not overlapping
}

var _ layer.Bytes = (*overlay)(nil)

// newOverlay lays the writes over the file, later ones over earlier ones; the
// file is at least size bytes long then.
func newOverlay(f *source.File, writes []write, size int64) *overlay {
	o := &overlay{file: f, size: max(size, f.Size()), runs: flatten(writes)}
	if n := len(o.runs); n > 0 {
		o.size = max(o.size, o.runs[n-1].off+o.runs[n-1].length)
	}
	return o
}

// flatten returns the writes, or parts of zero ones, that are still seen when
// all were made in order. All of them begin and end at multiples of 4 KiB, and
// data are 4 KiB long, so data are never seen in part.
func flatten(writes []write) []write {
	var cuts []int64 // where any write begins or ends
	for _, w := range writes {
		cuts = append(cuts, w.off, w.off+w.length)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	// The newest write takes its cells first. next[i] leads to the first cell
	// from i on that nobody took, so taken ones are skipped in one step.
	owner := make([]int, len(cuts))
	next := make([]int, len(cuts)+1)
	for i := range next {
		next[i] = i
	}
	for n := len(writes) - 1; n >= 0; n-- {
		w := writes[n]
		i, _ := slices.BinarySearch(cuts, w.off)
		for i = follow(next, i); i < len(cuts) && cuts[i] < w.off+w.length; i = follow(next, i) {
			owner[i] = n + 1
			next[i] = i + 1
		}
	}
	var runs []write
	for i, n := range owner {
		if n == 0 {
			continue
		}
		w := writes[n-1]
		w.off, w.length = cuts[i], cuts[i+1]-cuts[i]
		runs = append(runs, w)
	}
	return runs
}

// follow finds the end of a chain and shortens it for the next one.
func follow(next []int, i int) int {
	for next[i] != i {
		next[i] = next[next[i]]
		i = next[i]
	}
	return i
}

// Size is the length of the file after the writes.
func (o *overlay) Size() int64 { return o.size }

// ReadFull fills p from off, see layer.Bytes.
func (o *overlay) ReadFull(p []byte, off int64, what string) error {
	if off < 0 || off > o.size || int64(len(p)) > o.size-off {
		return o.file.Corrupt(off, "%s of %d bytes reaches beyond the end of the file (%d bytes after replay): the image is truncated", what, len(p), o.size)
	}
	for len(p) > 0 {
		w, n := o.at(off)
		n = min(n, int64(len(p)))
		var err error
		switch {
		case w == nil:
			err = o.readFile(p[:n], off, what)
		case w.zero:
			clear(p[:n])
		default:
			err = o.readLogged(p[:n], off-w.off, w)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// at returns the write that holds the byte at off, or nil, and for how many
// bytes that is so.
func (o *overlay) at(off int64) (*write, int64) {
	i := sort.Search(len(o.runs), func(i int) bool { return o.runs[i].off > off })
	if i > 0 {
		if w := &o.runs[i-1]; off < w.off+w.length {
			return w, w.off + w.length - off
		}
	}
	if i < len(o.runs) {
		return nil, o.runs[i].off - off
	}
	return nil, o.size - off
}

// readFile reads the file itself; where it was not grown yet are zeros.
func (o *overlay) readFile(p []byte, off int64, what string) error {
	n := min(int64(len(p)), max(0, o.file.Size()-off))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return o.file.ReadFull(p[:n], off, what)
}

// readLogged reads from byte within on of a logged sector.
func (o *overlay) readLogged(p []byte, within int64, w *write) error {
	var sector [logSector]byte
	if err := o.file.ReadFull(sector[:], w.from, "VHDX log"); err != nil {
		return err
	}
	copy(sector[:], w.lead[:])
	copy(sector[logSector-sectorTailBytes:], w.trail[:])
	copy(p, sector[within:])
	return nil
}

// Extent tells data from holes, see source.File.Extent.
func (o *overlay) Extent(off int64) (source.Extent, error) {
	if err := source.CheckExtent(off, o.size); err != nil {
		return source.Extent{}, err
	}
	w, n := o.at(off)
	if w != nil || off >= o.file.Size() {
		return source.Extent{Length: n, Data: w != nil && !w.zero}, nil
	}
	e, err := o.file.Extent(off)
	e.Length = min(e.Length, n)
	return e, err
}
