package fat

import (
	"context"
	"fmt"
	"io"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/chain"
)

// Stat implements guest.Filesystem.
func (f *FS) Stat(ctx context.Context, n guest.Node) (guest.Attr, error) {
	e, err := f.entry(ctx, n)
	if err != nil {
		return guest.Attr{}, err
	}
	a := guest.Attr{Node: n, Type: guest.Regular, Perm: 0o755, Links: 1, Size: int64(e.size)}
	if e.attr&attrReadOnly != 0 {
		a.Perm = 0o555
	}
	a.Mtime, a.Atime, a.Btime = e.times()
	if e.dir() {
		a.Type = guest.Directory
		if a.Size, err = f.directorySize(ctx, n, e.cluster); err != nil {
			return guest.Attr{}, err
		}
	}
	if n == rootNode { // it has no entry
		a.Mtime, a.Atime, a.Btime = parseTime(0, 0, 0), parseTime(0, 0, 0), parseTime(0, 0, 0)
	}
	a.Ctime = a.Mtime
	a.Allocated = (a.Size + f.g.cluster - 1) / f.g.cluster * f.g.cluster
	return a, nil
}

// directorySize is the length of its chain; 0 when that is damaged.
func (f *FS) directorySize(ctx context.Context, n guest.Node, cluster uint32) (int64, error) {
	if n == rootNode && cluster == 0 {
		return f.g.rootLen, nil
	}
	size := int64(0)
	limit := uint32(max(maxDirectory/f.g.cluster, 1))
	if err := f.table.Each(ctx, cluster, 0, limit, func(r chain.Run) bool { size += int64(r.Count) * f.g.cluster; return true }); err != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return size, nil
}

// regular reads the entry of a file.
func (f *FS) regular(ctx context.Context, n guest.Node) (entry, error) {
	e, err := f.entry(ctx, n)
	if err == nil && e.dir() {
		err = fmt.Errorf("fat: node %d is a directory: %w", n, guest.ErrNotExist)
	}
	return e, err
}

// eachExtent calls fn for the runs of a file from a place in it on, to its
// size. A chain that ends before is damage.
func (f *FS) eachExtent(ctx context.Context, e entry, from int64, fn func(guest.Extent) bool) error {
	size := int64(e.size)
	if from >= size {
		return nil
	}
	limit := uint32((size + f.g.cluster - 1) / f.g.cluster)
	end, stopped := int64(0), false
	err := f.table.Each(ctx, e.cluster, uint32(from/f.g.cluster), limit, func(r chain.Run) bool {
		x := guest.Extent{Offset: int64(r.First) * f.g.cluster, Place: f.g.place(r.Cluster)}
		x.Length = min(int64(r.Count)*f.g.cluster, size-x.Offset)
		end = x.Offset + x.Length
		stopped = !fn(x)
		return !stopped
	})
	if err == nil && !stopped && end < size {
		err = guest.Corrupt("fat: a file of %d bytes has clusters for %d", size, end)
	}
	return err
}

// Extents implements guest.Filesystem. There are no holes.
func (f *FS) Extents(ctx context.Context, n guest.Node, from int64, fn func(guest.Extent) bool) error {
	e, err := f.regular(ctx, n)
	if err != nil {
		return err
	}
	return f.eachExtent(ctx, e, max(from, 0), fn)
}

// ReadAt implements guest.Filesystem.
func (f *FS) ReadAt(ctx context.Context, n guest.Node, p []byte, off int64) (int, error) {
	e, err := f.regular(ctx, n)
	switch size := int64(e.size); {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, fmt.Errorf("fat: read at %d", off)
	case off >= size:
		return 0, io.EOF
	case int64(len(p)) > size-off:
		p, err = p[:size-off], io.EOF
	}
	if len(p) == 0 {
		return 0, err
	}
	done := 0
	var failed error
	walked := f.eachExtent(ctx, e, off, func(x guest.Extent) bool {
		within := off + int64(done) - x.Offset
		piece := p[done:min(int64(len(p)), x.Offset+x.Length-off)]
		if failed = guest.ReadFull(ctx, f.volume, piece, x.Place+within); failed != nil {
			return false
		}
		done += len(piece)
		return done < len(p)
	})
	if failed == nil {
		failed = walked
	}
	if failed != nil {
		return done, fmt.Errorf("fat: read at %d: %w", off+int64(done), failed)
	}
	return done, err
}

// Readlink implements guest.Filesystem: there are no links.
func (f *FS) Readlink(ctx context.Context, n guest.Node) (string, error) {
	_, err := f.entry(ctx, n)
	if err == nil {
		err = fmt.Errorf("fat: node %d is no link: %w", n, guest.ErrNotExist)
	}
	return "", err
}

// Xattrs implements guest.Filesystem: there are none.
func (f *FS) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	_, err := f.entry(ctx, n)
	return nil, err
}
