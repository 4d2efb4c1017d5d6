package image

import (
	"context"
	"errors"
	"fmt"
)

// errCounts says that a disk's counts contradict each other: its map is
// damaged. Nothing is made up from such a map.
var errCounts = errors.New("the disk map's counts contradict each other")

// fewUnits is how many allocated units are looked up one by one before a
// range is halved instead.
const fewUnits = 4

// units is a disk counted in one unit. It checks every answer, so that a
// damaged map ends in an error and never in a wrong offset.
type units struct {
	disk  Disk
	unit  Unit
	total int64 // units of the disk, the last one perhaps short
	count int64 // allocated ones
}

func unitsOf(d Disk, u Unit) units {
	return units{disk: d, unit: u, total: ceilDiv(d.Size(), int64(u)), count: d.Count(u)}
}

func (u units) check() error {
	if u.count < 0 || u.count > u.total {
		return fmt.Errorf("%w: %d of %d units of %d allocated", errCounts, u.count, u.total, u.unit)
	}
	return nil
}

// rank is Disk.Rank that also takes n >= total: everything is before it.
func (u units) rank(ctx context.Context, n int64) (int64, bool, error) {
	if n >= u.total {
		return u.count, false, nil
	}
	r, allocated, err := u.disk.Rank(ctx, u.unit, n)
	if err != nil {
		return 0, false, err
	}
	if r < 0 || r > min(n, u.count) || allocated && r == u.count {
		return 0, false, fmt.Errorf("%w: rank %d at unit %d of %d", errCounts, r, n, u.unit)
	}
	return r, allocated, nil
}

// selectAt is Disk.Select with a checked answer.
func (u units) selectAt(ctx context.Context, k int64) (int64, error) {
	n, err := u.disk.Select(ctx, u.unit, k)
	if err != nil {
		return 0, err
	}
	if n < k || n >= u.total {
		return 0, fmt.Errorf("%w: allocated unit %d of %d is number %d", errCounts, k, u.unit, n)
	}
	return n, nil
}

// next returns the first allocated unit at or after n, or total.
func (u units) next(ctx context.Context, n int64) (int64, error) {
	r, allocated, err := u.rank(ctx, n)
	if err != nil {
		return 0, err
	}
	if allocated {
		return n, nil
	}
	if r == u.count {
		return u.total, nil
	}
	found, err := u.selectAt(ctx, r)
	if err == nil && found <= n {
		err = fmt.Errorf("%w: unit %d of %d is free and allocated", errCounts, found, u.unit)
	}
	return found, err
}

// run finds the k-th allocated unit and how many allocated units follow it
// without a gap, itself included, at most limit >= 1. It takes a number of
// steps that grows with the logarithm of limit.
func (u units) run(ctx context.Context, k, limit int64) (n, length int64, err error) {
	n, err = u.selectAt(ctx, k)
	if err != nil {
		return 0, 0, err
	}
	low, high := int64(1), min(limit, u.count-k) // low are surely together
	for probe := high; low < high; probe = low + (high-low+1)/2 {
		m, err := u.selectAt(ctx, k+probe-1)
		if err != nil {
			return 0, 0, err
		}
		if m == n+probe-1 {
			low = probe
		} else {
			high = probe - 1
		}
	}
	return n, low, nil
}

// each calls visit for every allocated unit in [from, to), in order, with its
// number and its rank. Full and empty stretches cost two look-ups.
func (u units) each(ctx context.Context, from, to int64, visit func(n, rank int64)) error {
	to = min(to, u.total)
	if from >= to {
		return nil
	}
	first, _, err := u.rank(ctx, from)
	if err != nil {
		return err
	}
	last, _, err := u.rank(ctx, to)
	if err != nil {
		return err
	}
	return u.between(ctx, from, to, first, last, visit)
}

// between is each with the ranks of both ends known.
func (u units) between(ctx context.Context, from, to, first, last int64, visit func(n, rank int64)) error {
	switch n := last - first; {
	case n < 0 || n > to-from:
		return fmt.Errorf("%w: %d units of %d in [%d,%d)", errCounts, n, u.unit, from, to)
	case n == to-from:
		for i := range n {
			visit(from+i, first+i)
		}
		return nil
	case n <= fewUnits:
		return u.pick(ctx, from, to, first, last, visit)
	}
	mid := from + (to-from)/2
	half, _, err := u.rank(ctx, mid)
	if err != nil {
		return err
	}
	if err := u.between(ctx, from, mid, first, half, visit); err != nil {
		return err
	}
	return u.between(ctx, mid, to, half, last, visit)
}

// pick visits the units of the ranks [first, last), which lie in [from, to).
func (u units) pick(ctx context.Context, from, to, first, last int64, visit func(n, rank int64)) error {
	for k := first; k < last; k++ {
		n, err := u.selectAt(ctx, k)
		if err != nil {
			return err
		}
		if n < from || n >= to {
			return fmt.Errorf("%w: unit %d of %d is not in [%d,%d)", errCounts, n, u.unit, from, to)
		}
		visit(n, k)
	}
	return nil
}
