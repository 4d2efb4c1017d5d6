package disk

import (
	"context"
	"errors"
	"fmt"
)

// extentRegions bounds the maps that one call of Extent follows a data run
// through.
const extentRegions = 64

// Extent describes the run that begins at off, 0 <= off < Size: its length and
// whether it is stored (data) or a hole. Neighbouring extents are one run. It
// reads maps and never data. A hole is passed in as many steps as the tree has
// levels, whatever its length; a run of data is followed through 64 regions
// (256 MiB) and then cut, so it may go on behind the length returned.
func (r *Reader) Extent(ctx context.Context, off int64) (length int64, data bool, err error) {
	if off < 0 || off >= r.m.Size {
		return 0, false, fmt.Errorf("extent at %d of a disk of %d bytes", off, r.m.Size)
	}
	n, from := off/RegionSize, int(off%RegionSize)
	m, err := r.region(ctx, r.find, n)
	if err != nil {
		return 0, false, err
	}
	if m != nil {
		i, in := m.find(from)
		if in {
			return r.dataRun(ctx, off, m, i)
		}
		if i < m.n {
			return int64(m.off(i) - from), false, nil
		}
	}
	end, err := r.nextData(ctx, n+1)
	return end - off, false, err
}

// dataRun measures the run of data at off, in extent i of m.
func (r *Reader) dataRun(ctx context.Context, off int64, m *region, i int) (int64, bool, error) {
	n := off / RegionSize
	for left := extentRegions; ; left-- {
		end := m.runEnd(i)
		next := n*RegionSize + int64(end)
		if end < RegionSize || left == 0 || next >= r.m.Size {
			return next - off, true, nil
		}
		n++
		var err error
		if m, err = r.region(ctx, r.find, n); err != nil {
			return 0, false, err
		}
		if m == nil || m.off(0) > 0 {
			return next - off, true, nil
		}
		i = 0
	}
}

// runEnd returns where the extents that touch each other from i on end.
func (m *region) runEnd(i int) int {
	end := m.off(i) + m.len(i)
	for i++; i < m.n && m.off(i) == end; i++ {
		end += m.len(i)
	}
	return end
}

// nextData returns the offset of the first stored byte in region n or behind,
// or the disk's size.
func (r *Reader) nextData(ctx context.Context, n int64) (int64, error) {
	found := r.m.Size
	err := r.regions(ctx, n, func(n int64, leaf *node, i int) error {
		m, err := r.regionMap(ctx, r.find, n, leaf.ids[i], leaf.bitmaps[i])
		if err == nil {
			found, err = n*RegionSize+int64(m.off(0)), errStop
		}
		return err
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return found, err
}
