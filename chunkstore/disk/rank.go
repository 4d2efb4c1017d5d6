package disk

import (
	"context"
	"fmt"
	"math/bits"
	"sort"
)

// Count returns how many units of GrainSize, BlockSize or SpanSize are
// allocated, which means that any byte of theirs is stored. It is O(1), and 0
// for any other size.
func (r *Reader) Count(unit int64) int64 {
	u, err := unitOf(unit)
	if err != nil {
		return 0
	}
	return int64(r.m.totals()[u])
}

// Rank returns how many allocated units come before unit number n, and whether
// n itself is allocated. 0 <= n < ceil(Size/unit). It reads a node a level and
// no region map.
func (r *Reader) Rank(ctx context.Context, unit, n int64) (rank int64, allocated bool, err error) {
	u, err := unitOf(unit)
	if err != nil {
		return 0, false, err
	}
	if n < 0 || n >= ceilDiv(r.m.Size, unit) {
		return 0, false, fmt.Errorf("unit %d of %d", n, ceilDiv(r.m.Size, unit))
	}
	off := n * unit
	for p := r.root(); ; {
		if p.id.IsZero() {
			return rank, false, nil
		}
		if u == inSpans && p.level == 0 {
			return rank, true, nil // a leaf is one span
		}
		nd, err := r.node(ctx, r.find, p)
		if err != nil {
			return 0, false, err
		}
		i := min(p.entry(off), len(nd.ids))
		rank += int64(nd.sums[u][i])
		if i == len(nd.ids) {
			return rank, false, nil
		}
		if p.level == 0 {
			before, here := rankIn(nd.bitmaps[i], u, int(off%RegionSize/unit))
			return rank + before, here, nil
		}
		p = p.below(nd, i)
	}
}

// rankIn counts the units before unit n of a region, and tells of n itself.
func rankIn(bitmap uint64, u, n int) (int64, bool) {
	set := bitmap
	if u == inBlocks {
		set = uint64(blocksOf(bitmap))
	}
	return int64(bits.OnesCount64(set & (1<<n - 1))), set>>n&1 == 1
}

// Select returns the number of the k-th allocated unit, 0 <= k < Count(unit).
// It is Rank's inverse and costs the same.
func (r *Reader) Select(ctx context.Context, unit, k int64) (int64, error) {
	u, err := unitOf(unit)
	if err != nil {
		return 0, err
	}
	if k < 0 || k >= r.Count(unit) {
		return 0, fmt.Errorf("allocated unit %d of %d", k, r.Count(unit))
	}
	left := uint32(k)
	for p := r.root(); ; {
		if u == inSpans && p.level == 0 {
			return p.start / SpanSize, nil
		}
		nd, err := r.node(ctx, r.find, p)
		if err != nil {
			return 0, err
		}
		// The totals fit (node checked them), so the entry exists.
		sums := nd.sums[u]
		i := sort.Search(len(nd.ids), func(i int) bool { return sums[i+1] > left })
		left -= sums[i]
		if p.level == 0 {
			return (p.start+int64(i)*RegionSize)/unit + int64(selectIn(nd.bitmaps[i], u, int(left))), nil
		}
		p = p.below(nd, i)
	}
}

// selectIn returns the number of the k-th allocated unit of a region.
func selectIn(bitmap uint64, u, k int) int {
	set := bitmap
	if u == inBlocks {
		set = uint64(blocksOf(bitmap))
	}
	for ; k > 0; k-- {
		set &= set - 1
	}
	return bits.TrailingZeros64(set)
}
