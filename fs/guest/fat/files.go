package fat

import (
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

// maxDirs is the most directories of a volume that Files walks.
const maxDirs = 1 << 20

// Files implements guest.Filesystem, directory by directory: there is no other
// table of files. Damage ends a file or a directory, and the first damage of a
// directory is the error in the end.
func (f *FS) Files(ctx context.Context, fn func(n guest.Node, size int64, e guest.Extent) bool) error {
	pending, seen := []uint32{f.g.rootCluster}, map[uint32]bool{f.g.rootCluster: true}
	var damage error
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		stopped := false
		var failed error
		err := f.eachFound(ctx, dir, func(x found) bool {
			switch {
			case !x.entry.dir():
				failed = f.eachExtent(ctx, x.entry, 0, func(e guest.Extent) bool {
					stopped = !fn(x.node, int64(x.entry.size), e)
					return !stopped
				})
				if errors.Is(failed, guest.ErrCorrupt) {
					failed = nil
				}
			case f.g.has(x.entry.cluster) && !seen[x.entry.cluster] && len(seen) < maxDirs:
				seen[x.entry.cluster] = true
				pending = append(pending, x.entry.cluster)
			}
			return !stopped && failed == nil
		})
		switch {
		case stopped:
			return nil
		case failed != nil:
			return failed
		case err != nil && !errors.Is(err, guest.ErrCorrupt):
			return err
		case damage == nil:
			damage = err
		}
	}
	return damage
}

// Free implements guest.Filesystem: the clusters whose entry in the FAT is 0.
// guest.ErrUnsupported for a volume that was not unmounted, since directories
// may then have what the FAT does not yet, or whose first FAT is damaged.
func (f *FS) Free(ctx context.Context, fn func(guest.Range) bool) error {
	if f.dirty || f.mirrored {
		return fmt.Errorf("free space of a FAT that was not unmounted or is damaged is %w", guest.ErrUnsupported)
	}
	from := uint32(0) // of a run of free clusters; 0 for none
	end := f.g.clusters + firstCluster
	give := func(to uint32) bool {
		r := guest.Range{Offset: f.g.place(from), Length: int64(to-from) * f.g.cluster}
		from = 0
		return fn(r)
	}
	for c := uint32(firstCluster); c < end; c++ {
		if c%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := f.next(ctx, c)
		if err != nil {
			return err
		}
		switch {
		case v == isFree && from == 0:
			from = c
		case v != isFree && from != 0 && !give(c):
			return nil
		}
	}
	if from != 0 {
		give(end)
	}
	return nil
}
