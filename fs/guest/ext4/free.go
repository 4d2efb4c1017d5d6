package ext4

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"holdfast/fs/guest"
)

// Free implements guest.Filesystem from the block bitmaps after replay. In
// doubt a block is in use: a group is free nowhere when its descriptor or its
// bitmap has a wrong checksum, or when the bitmap's free bits are not as many
// as the descriptor says. guest.ErrUnsupported for a volume that was not
// unmounted and has no journal, that holds errors, or whose journal could not
// be replayed.
func (f *FS) Free(ctx context.Context, fn func(guest.Range) bool) error {
	switch {
	case f.state.Health == guest.NotReplayed:
		return fmt.Errorf("free space with a journal that was not replayed is %w", guest.ErrUnsupported)
	case f.sb.state&stateErrors != 0:
		return fmt.Errorf("free space of a filesystem with errors is %w", guest.ErrUnsupported)
	case f.state.Health == guest.Clean && f.sb.state&stateValid == 0 && f.sb.compat&compatHasJournal == 0:
		return fmt.Errorf("free space of a filesystem that was not unmounted is %w", guest.ErrUnsupported)
	}
	out := freeRanges{fn: fn, used: f.fast.usedBlocks(), blockSize: int64(f.sb.blockSize)}
	for g := range f.sb.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		bitmap, err := f.freeBitmap(ctx, g)
		if err != nil && !errors.Is(err, guest.ErrCorrupt) {
			return err
		}
		if err != nil {
			continue // nothing of a damaged group is free
		}
		f.addFree(&out, g, bitmap)
		if out.stopped {
			return nil
		}
	}
	out.flush()
	return nil
}

// freeBitmap gives a group's bitmap of clusters, checked. It is shared or the
// caller's own: nobody writes to it.
func (f *FS) freeBitmap(ctx context.Context, number uint32) ([]byte, error) {
	g, err := f.group(ctx, number)
	if err != nil {
		return nil, err
	}
	if !f.trusted(g) {
		return nil, guest.Corrupt("ext4 group %d: its descriptor has a wrong checksum", number)
	}
	var bitmap []byte
	if g.flags&groupBlocksUnset != 0 {
		bitmap = f.unsetBitmap(number, g)
	} else if bitmap, err = f.block(ctx, g.blockBitmap); err != nil {
		return nil, err
	} else if err := f.checkBitmap(number, g, bitmap); err != nil {
		return nil, err
	}
	if free := countFree(bitmap, f.clustersIn(number)); free != g.freeClusters {
		return nil, guest.Corrupt("ext4 group %d: %d free clusters in its bitmap, %d by its descriptor", number, free, g.freeClusters)
	}
	return bitmap, nil
}

// countFree counts the zeros among the first n bits.
func countFree(bitmap []byte, n uint32) uint32 {
	free, i := n, uint32(0)
	for ; i+64 <= n; i += 64 {
		free -= uint32(bits.OnesCount64(le.Uint64(bitmap[i/8:])))
	}
	for ; i < n; i++ {
		free -= uint32(bitmap[i/8] >> (i % 8) & 1)
	}
	return free
}

// checkBitmap verifies a bitmap, and that it counts itself and the other parts
// of its group as used.
func (f *FS) checkBitmap(number uint32, g group, bitmap []byte) error {
	if f.sb.metadataCsum() {
		sum, mask := crc32c(f.sb.seed, bitmap[:f.sb.clustersPerGroup/8]), uint32(0xffff)
		if f.sb.descSize >= 64 {
			mask = ^uint32(0)
		}
		if sum&mask != g.blockCsum {
			return guest.Corrupt("ext4 group %d: its block bitmap has a wrong checksum", number)
		}
	}
	for _, own := range f.ownBlocks(number, g) {
		if bitmap[own/8]>>(own%8)&1 == 0 {
			return guest.Corrupt("ext4 group %d: its block bitmap says that its own structures are free", number)
		}
	}
	return nil
}

// clustersIn is the number of clusters in a group; the last may be short.
func (f *FS) clustersIn(number uint32) uint32 {
	blocks := f.sb.groupEnd(number) - f.sb.groupStart(number)
	return uint32((blocks + 1<<f.sb.clusterBits - 1) >> f.sb.clusterBits)
}

// unsetBitmap makes the bitmap that was never written: only the group's own
// structures are used.
func (f *FS) unsetBitmap(number uint32, g group) []byte {
	bitmap := make([]byte, f.sb.blockSize)
	for _, cluster := range f.ownBlocks(number, g) {
		bitmap[cluster/8] |= 1 << (cluster % 8)
	}
	return bitmap
}

// ownBlocks gives the clusters of a group that hold its own structures, as far
// as they lie in it.
func (f *FS) ownBlocks(number uint32, g group) []uint32 {
	start, end := f.sb.groupStart(number), f.sb.groupEnd(number)
	var clusters []uint32
	add := func(block, count uint64) {
		if block >= end {
			return
		}
		for at := max(block, start); at < min(block+count, end); at++ {
			clusters = append(clusters, uint32((at-start)>>f.sb.clusterBits))
		}
	}
	add(start, min(f.sb.baseBlocks(number), end-start))
	add(g.blockBitmap, 1)
	add(g.inodeBitmap, 1)
	add(g.table, f.sb.tableBlocks())
	return clusters
}

// addFree adds the free clusters of a group, a byte of the bitmap at a time
// where all of it is alike.
func (f *FS) addFree(out *freeRanges, number uint32, bitmap []byte) {
	start, end := f.sb.groupStart(number), f.sb.groupEnd(number)
	for i, n := uint32(0), f.clustersIn(number); i < n && !out.stopped; {
		step := uint32(1)
		used := bitmap[i/8]>>(i%8)&1 != 0
		if whole := bitmap[i/8]; i%8 == 0 && (whole == 0 || whole == 0xff) {
			step = 8
		}
		if !used {
			from := start + uint64(i)<<f.sb.clusterBits
			out.add(from, min(from+uint64(step)<<f.sb.clusterBits, end))
		}
		i += step
	}
}

// freeRanges joins free blocks into ranges, without what fast commits use.
type freeRanges struct {
	fn        func(guest.Range) bool
	blockSize int64
	used      []blockRange // in order, apart
	from, to  uint64       // open range, not yet given
	stopped   bool
}

// blockRange is a run of blocks from one up to another.
type blockRange struct{ from, to uint64 }

// add adds the blocks from one up to another, behind all that were added.
func (r *freeRanges) add(from, to uint64) {
	if from != r.to {
		r.flush()
		r.from = from
	}
	r.to = to
}

// flush gives the open range.
func (r *freeRanges) flush() {
	from, to := r.from, r.to
	r.from, r.to = 0, 0
	i, _ := slices.BinarySearchFunc(r.used, from, func(u blockRange, from uint64) int {
		if u.to <= from {
			return -1
		}
		return 1
	})
	for ; i < len(r.used) && r.used[i].from < to; i++ {
		r.give(from, r.used[i].from)
		from = max(from, r.used[i].to)
	}
	r.give(from, to)
}

func (r *freeRanges) give(from, to uint64) {
	if from < to && !r.stopped {
		r.stopped = !r.fn(guest.Range{Offset: int64(from) * r.blockSize, Length: int64(to-from) * r.blockSize})
	}
}
