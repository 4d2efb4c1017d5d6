package exfat

import (
	"context"
	"fmt"
	"math/bits"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/chain"
)

// eachBits calls fn for pieces of the bitmap in order, a bit for each cluster
// (7.1.5), until fn returns false. A bitmap that is too short is damage.
func (f *FS) eachBits(ctx context.Context, fn func(first uint32, b []byte) bool) error {
	if need := (int64(f.g.clusters) + 7) / 8; f.bitmap.size < need {
		return guest.Corrupt("exfat: a bitmap of %d bytes for %d clusters", f.bitmap.size, f.g.clusters)
	}
	done, more := int64(0), true
	var failed error
	err := f.eachRun(ctx, f.bitmap, 0, func(r chain.Run) bool {
		start := f.g.place(r.Cluster)
		for at, end := start, start+int64(r.Count)*f.g.cluster; at < end && more && done < f.bitmap.size; {
			n := min(end-at, pageBytes-at%pageBytes, f.bitmap.size-done)
			var b []byte
			if b, failed = f.read(ctx, at, n); failed != nil {
				return false
			}
			more = fn(firstCluster+uint32(done*8), b)
			at, done = at+n, done+n
		}
		return more
	})
	switch {
	case failed != nil:
		return failed
	case err == nil && more && done < f.bitmap.size:
		return guest.Corrupt("exfat: the bitmap ends after %d bytes", done)
	}
	return err
}

// countUsed counts the bytes of clusters in use.
func (f *FS) countUsed(ctx context.Context) (int64, error) {
	used := int64(0)
	err := f.eachBits(ctx, func(first uint32, b []byte) bool {
		for i, c := range b {
			if left := int64(f.g.clusters) - int64(first-firstCluster) - int64(i)*8; left < 8 {
				c &= 1<<max(left, 0) - 1
			}
			used += int64(bits.OnesCount8(c))
		}
		return true
	})
	return used * f.g.cluster, err
}

// Free implements guest.Filesystem: the clusters that the bitmap says are free.
// guest.ErrUnsupported for a volume that was not unmounted: its directories may
// have what the bitmap does not yet.
func (f *FS) Free(ctx context.Context, fn func(guest.Range) bool) error {
	if f.g.dirty {
		return fmt.Errorf("free space of an exFAT that was not unmounted is %w", guest.ErrUnsupported)
	}
	end := f.g.clusters + firstCluster
	from, stopped := uint32(0), false // from: of a run of free clusters; 0 for none
	give := func(to uint32) {
		if from != 0 {
			stopped = !fn(guest.Range{Offset: f.g.place(from), Length: int64(to-from) * f.g.cluster})
		}
		from = 0
	}
	err := f.eachBits(ctx, func(first uint32, b []byte) bool {
		for i := range uint32(len(b)) * 8 {
			c := first + i
			if c >= end || stopped {
				break
			}
			if b[i/8]>>(i%8)&1 != 0 {
				give(c)
			} else if from == 0 {
				from = c
			}
		}
		return !stopped
	})
	if err == nil && !stopped {
		give(end)
	}
	return err
}
