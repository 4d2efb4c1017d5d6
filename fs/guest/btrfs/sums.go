package btrfs

import (
	"context"

	"holdfast/fs/guest"
)

// Content has a checksum for each sector, in runs: an item holds those of the
// sectors from its offset in the logical space on.

// readChecked reads p, whole sectors, from a place in the logical space, with
// each proved by its checksum if the file has them.
func (f *FS) readChecked(ctx context.Context, in *inode, p []byte, logical uint64) error {
	if in.flags()&flagNoSums != 0 || f.lax {
		return f.readBlocks(ctx, p, logical, len(p), func(int, []byte) error { return nil })
	}
	size := int(f.sb.sectorSize)
	want, have, err := f.sums(ctx, logical, len(p)/size)
	if err != nil {
		return err
	}
	return f.readBlocks(ctx, p, logical, size, func(i int, sector []byte) error {
		at := logical + uint64(i*size)
		if !have[i] {
			return guest.Corrupt("btrfs inode %d of subvolume %d: byte %d of the logical space has no checksum", in.number, in.tree.id, at)
		}
		if !f.sb.sums.fits(sector, want[i*f.sb.sums.size:]) {
			return guest.Corrupt("btrfs inode %d of subvolume %d: the checksum of its content at byte %d of the logical space is wrong", in.number, in.tree.id, at)
		}
		return nil
	})
}

// sums gives the checksums of count sectors, and which of them there are. What
// the log has counts before what the tree has.
func (f *FS) sums(ctx context.Context, logical uint64, count int) (want []byte, have []bool, err error) {
	want, have = make([]byte, count*f.sb.sums.size), make([]bool, count)
	t, err := f.tree(ctx, treeSums)
	if isAbsent(err) {
		return want, have, nil
	}
	if err != nil {
		return nil, nil, err
	}
	end := logical + uint64(count)*f.sb.sectorSize
	take := func(k key, item []byte) bool {
		if !k.is(sumObject, kindSum) || k.offset >= end {
			return false
		}
		f.takeSums(k.offset, item, logical, want, have)
		return true
	}
	from := key{sumObject, kindSum, logical}
	for _, t := range f.sumTrees(t) {
		first := from
		if err = f.scanBack(ctx, t, from, func(k key, _ []byte) bool {
			if k.is(sumObject, kindSum) {
				first = k
			}
			return false
		}); err != nil {
			return nil, nil, err
		}
		if err = f.scan(ctx, t, first, take); err != nil {
			return nil, nil, err
		}
	}
	return want, have, nil
}

// sumTrees are the trees that hold checksums: the filesystem's own, and over
// it those of the log.
func (f *FS) sumTrees(t *tree) []*tree {
	all := []*tree{t}
	if f.log != nil {
		all = append(all, f.log.logs...)
	}
	return all
}

// takeSums copies what an item has of the sectors from logical on.
func (f *FS) takeSums(start uint64, item []byte, logical uint64, want []byte, have []bool) {
	size := f.sb.sums.size
	for i := range have {
		at := logical + uint64(i)*f.sb.sectorSize
		if at < start {
			continue
		}
		n := (at - start) / f.sb.sectorSize
		if (at-start)%f.sb.sectorSize != 0 || n >= uint64(len(item)/size) {
			continue
		}
		copy(want[i*size:][:size], item[int(n)*size:])
		have[i] = true
	}
}
