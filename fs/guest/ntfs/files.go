package ntfs

import (
	"context"
	"errors"

	"holdfast/fs/guest"
)

// Files implements guest.Filesystem, in the order of $MFT. Files that can't be
// read, for damage or because a feature is not supported, are left out, and so
// are the volume's own and the named streams. All files together have no more
// runs than the volume has clusters and holes between them: when they claim far
// more, it ends with guest.ErrCorrupt.
func (f *FS) Files(ctx context.Context, fn func(n guest.Node, size int64, e guest.Extent) bool) error {
	budget := 8*f.g.clusters + 1024
	stopped := false
	for number := uint64(firstUser); number < f.records && !stopped; number++ {
		err := f.eachPlace(ctx, number, &budget, func(size int64, e guest.Extent) bool {
			stopped = !fn(guest.Node(number), size, e)
			return !stopped
		})
		switch {
		case budget <= 0:
			return guest.Corrupt("ntfs: its files have more runs than the volume has clusters")
		case err == nil, errors.Is(err, guest.ErrCorrupt), errors.Is(err, guest.ErrNotExist), errors.Is(err, guest.ErrUnsupported):
		default:
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// eachPlace gives the extents of one file that have a place.
func (f *FS) eachPlace(ctx context.Context, number uint64, budget *int64, fn func(size int64, e guest.Extent) bool) error {
	x, err := f.file(ctx, number)
	if err != nil || x.directory() || x.hidden() {
		return err
	}
	*budget -= int64(len(x.list)) / 8
	in, err := f.describeFile(ctx, x)
	if err != nil || in.kind != guest.Regular {
		return err
	}
	c, err := f.content(ctx, in)
	if err != nil || c.stream == nil || c.stream.resident {
		return err
	}
	return f.eachExtent(ctx, c, 0, func(e guest.Extent) bool {
		if *budget--; *budget <= 0 {
			return false
		}
		return e.Hole || e.Place < 0 || fn(c.size, e)
	})
}

// hidden says that a file is one of the volume's own, below $Extend: these have
// numbers from 16 on as well.
func (x *file) hidden() bool {
	for i := range x.attrs {
		if x.attrs[i].kind != attrFileName {
			continue
		}
		n, err := parseName(x.attrs[i].value)
		return err == nil && n.parent&refMask < firstUser && n.parent&refMask != recordRoot
	}
	return false
}
