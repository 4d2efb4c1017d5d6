package image

import (
	"context"
	"fmt"
	"sync/atomic"
)

// patternDisk stores every period-th grain of a disk of any size, so that
// everything about it is arithmetic: a full disk of 64 TiB is one of these.
// period is 1, or 3 (less than a block's grains), or a multiple of a span's.
type patternDisk struct {
	size    int64
	period  int64
	lookups atomic.Int64 // calls of Rank, Select and Extent
}

var _ Disk = (*patternDisk)(nil)

// step is the distance of allocated units.
func (d *patternDisk) step(u Unit) int64 { return max(1, d.period*int64(Grain)/int64(u)) }

func (d *patternDisk) Size() int64 { return d.size }

func (d *patternDisk) Count(u Unit) int64 {
	return ceilDiv(ceilDiv(d.size, int64(u)), d.step(u))
}

func (d *patternDisk) DataBytes() int64 { return d.Count(Grain) * int64(Grain) }

func (d *patternDisk) Rank(_ context.Context, u Unit, n int64) (int64, bool, error) {
	d.lookups.Add(1)
	return ceilDiv(n, d.step(u)), n%d.step(u) == 0, nil
}

func (d *patternDisk) Select(_ context.Context, u Unit, k int64) (int64, error) {
	d.lookups.Add(1)
	if k >= d.Count(u) {
		return 0, fmt.Errorf("select %d of %d units", k, d.Count(u))
	}
	return k * d.step(u), nil
}

func (d *patternDisk) Extent(_ context.Context, off int64) (int64, bool, error) {
	d.lookups.Add(1)
	left, n := int64(Grain)-off%int64(Grain), off/int64(Grain)
	return min(left, d.size-off), n%d.period == 0, nil
}

func (d *patternDisk) ReadAtContext(_ context.Context, p []byte, off int64) error {
	for i := range p {
		at := off + int64(i)
		p[i] = 0
		if at/int64(Grain)%d.period == 0 {
			p[i] = patternByte(at)
		}
	}
	return nil
}

// patternByte differs between neighbouring bytes, sectors, grains and spans.
func patternByte(at int64) byte {
	x := uint64(at) * 0x9e3779b97f4a7c15
	return byte(x>>56 ^ x>>24)
}
