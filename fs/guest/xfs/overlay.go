package xfs

import (
	"context"
	"fmt"
	"slices"
)

// maxOverlay is the number of sectors that replay may change.
const maxOverlay = 1 << 17

// overlay is the sectors of 512 bytes that the log has newer content of.
type overlay struct {
	sectors []int64 // in order, once built
	content map[int64]*[sector]byte
}

// first gives the first sector at or behind one, as an index into sectors.
func (o *overlay) first(number int64) int {
	i, _ := slices.BinarySearch(o.sectors, number)
	return i
}

// touches says that some of n bytes at off come from the log.
func (o *overlay) touches(off, n int64) bool {
	i := o.first(off / sector)
	return i < len(o.sectors) && o.sectors[i]*sector < off+n
}

// apply puts the log's content over p, which was read at off.
func (o *overlay) apply(p []byte, off int64) {
	end := off + int64(len(p))
	for i := o.first(off / sector); i < len(o.sectors) && o.sectors[i]*sector < end; i++ {
		at := o.sectors[i] * sector
		from, to := max(at, off), min(at+sector, end)
		copy(p[from-off:to-off], o.content[o.sectors[i]][from-at:to-at])
	}
}

// build ends the changes.
func (o *overlay) build() {
	o.sectors = make([]int64, 0, len(o.content))
	for number := range o.content {
		o.sectors = append(o.sectors, number)
	}
	slices.Sort(o.sectors)
}

// sector gives a sector to change, which begins as it is on disk.
func (f *FS) changedSector(ctx context.Context, number int64) (*[sector]byte, error) {
	if s := f.overlay.content[number]; s != nil {
		return s, nil
	}
	if len(f.overlay.content) >= maxOverlay {
		return nil, fmt.Errorf("the log changes more than %d MiB of metadata", maxOverlay*sector>>20)
	}
	b, err := f.readCached(ctx, number*sector, sector)
	if err != nil {
		return nil, err
	}
	s := new([sector]byte)
	copy(s[:], b)
	f.overlay.content[number] = s
	return s, nil
}

// change writes b at off of the overlay.
func (f *FS) change(ctx context.Context, b []byte, off int64) error {
	for len(b) > 0 {
		s, err := f.changedSector(ctx, off/sector)
		if err != nil {
			return err
		}
		n := copy(s[off%sector:], b)
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// current copies n bytes at off, as they are during replay.
func (f *FS) current(ctx context.Context, off, n int64) ([]byte, error) {
	raw, err := f.readCached(ctx, off, n)
	if err != nil {
		return nil, err
	}
	b := append([]byte(nil), raw...)
	for number := off / sector; number*sector < off+n; number++ {
		if s := f.overlay.content[number]; s != nil {
			at := number * sector
			from, to := max(at, off), min(at+sector, off+n)
			copy(b[from-off:to-off], s[from-at:to-at])
		}
	}
	return b, nil
}
