package exfat

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/chain"
)

// Stat implements guest.Filesystem.
func (f *FS) Stat(ctx context.Context, n guest.Node) (guest.Attr, error) {
	x, err := f.file(ctx, n)
	if err != nil {
		return guest.Attr{}, err
	}
	a := guest.Attr{Node: n, Type: guest.Regular, Perm: 0o755, Links: 1, Size: x.size, Allocated: (x.size + f.g.cluster - 1) / f.g.cluster * f.g.cluster}
	if x.attr&attrReadOnly != 0 {
		a.Perm = 0o555
	}
	if x.dir() {
		a.Type = guest.Directory
	}
	a.Btime, a.Mtime = parseTime(x.raw[8:], x.raw[20], x.raw[22]), parseTime(x.raw[12:], x.raw[21], x.raw[23])
	a.Atime, a.Ctime = parseTime(x.raw[16:], 0, x.raw[24]), a.Mtime
	return a, nil
}

// typed reads a directory, or a file.
func (f *FS) typed(ctx context.Context, n guest.Node, dir bool) (file, error) {
	x, err := f.file(ctx, n)
	if err == nil && x.dir() != dir {
		err = fmt.Errorf("exfat: node %d is of another type: %w", n, guest.ErrNotExist)
	}
	return x, err
}

// eachExtent calls fn for the runs of a file from a place in it on, to its
// size; what is not valid comes as a hole. A chain that ends before is damage.
func (f *FS) eachExtent(ctx context.Context, s stream, from int64, fn func(guest.Extent) bool) error {
	end, stopped := from, false
	if from < s.valid {
		err := f.eachRun(ctx, s, uint32(from/f.g.cluster), func(r chain.Run) bool {
			x := guest.Extent{Offset: int64(r.First) * f.g.cluster, Place: f.g.place(r.Cluster)}
			x.Length = min(int64(r.Count)*f.g.cluster, s.valid-x.Offset)
			end = x.Offset + x.Length
			stopped = !fn(x)
			return !stopped && end < s.valid
		})
		if err != nil || stopped {
			return err
		}
		if end < s.valid {
			return guest.Corrupt("exfat: a file of %d bytes has clusters for %d", s.size, end)
		}
	}
	if end < s.size {
		fn(guest.Extent{Offset: max(s.valid, 0), Length: s.size - s.valid, Place: -1, Hole: true})
	}
	return nil
}

// Extents implements guest.Filesystem.
func (f *FS) Extents(ctx context.Context, n guest.Node, from int64, fn func(guest.Extent) bool) error {
	x, err := f.typed(ctx, n, false)
	if err != nil {
		return err
	}
	return f.eachExtent(ctx, x.stream, max(from, 0), fn)
}

// ReadAt implements guest.Filesystem.
func (f *FS) ReadAt(ctx context.Context, n guest.Node, p []byte, off int64) (int, error) {
	x, err := f.typed(ctx, n, false)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, fmt.Errorf("exfat: read at %d", off)
	case off >= x.size:
		return 0, io.EOF
	case int64(len(p)) > x.size-off:
		p, err = p[:x.size-off], io.EOF
	}
	if len(p) == 0 {
		return 0, err
	}
	done := 0
	var failed error
	walked := f.eachExtent(ctx, x.stream, off, func(e guest.Extent) bool {
		piece := p[done:min(int64(len(p)), e.Offset+e.Length-off)]
		if e.Hole {
			clear(piece)
		} else if failed = guest.ReadFull(ctx, f.volume, piece, e.Place+off+int64(done)-e.Offset); failed != nil {
			return false
		}
		done += len(piece)
		return done < len(p)
	})
	if failed == nil {
		failed = walked
	}
	if failed != nil {
		return done, fmt.Errorf("exfat: read at %d: %w", off+int64(done), failed)
	}
	return done, err
}

// Lookup implements guest.Filesystem.
func (f *FS) Lookup(ctx context.Context, dir guest.Node, name string) (guest.Node, error) {
	x, err := f.typed(ctx, dir, true)
	if err != nil {
		return 0, err
	}
	names, err := f.names(ctx, x.stream)
	if n, ok := names[name]; ok {
		return n, nil
	}
	if err == nil {
		err = fmt.Errorf("exfat: %.260q: %w", name, guest.ErrNotExist)
	}
	return 0, err
}

// Bounds of the names that are remembered.
const (
	maxNamed = 8
	maxNames = 100_000 // of a directory
)

// names gives the names of a directory; with an error there may be some as
// well.
func (f *FS) names(ctx context.Context, dir stream) (map[string]guest.Node, error) {
	f.mu.Lock()
	names := f.named[dir.cluster]
	f.mu.Unlock()
	if names != nil {
		return names, nil
	}
	names = map[string]guest.Node{}
	err := f.eachFound(ctx, dir, func(x found) bool {
		if _, twice := names[x.name]; !twice {
			names[x.name] = x.node
		}
		return true
	})
	if err != nil || len(names) > maxNames {
		return names, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.named) >= maxNamed {
		clear(f.named)
	}
	f.named[dir.cluster] = names
	return names, nil
}

// ReadDir implements guest.Filesystem. Names come as they lie on disk.
func (f *FS) ReadDir(ctx context.Context, dir guest.Node, cookie uint64, fn func(guest.Entry) bool) error {
	d, err := f.typed(ctx, dir, true)
	if err != nil {
		return err
	}
	return f.eachFound(ctx, d.stream, func(x found) bool {
		if x.cookie <= cookie {
			return true
		}
		e := guest.Entry{Name: x.name, Node: x.node, Type: guest.Regular, Cookie: x.cookie}
		if x.dir() {
			e.Type = guest.Directory
		}
		return fn(e)
	})
}

// Readlink implements guest.Filesystem: there are no links.
func (f *FS) Readlink(ctx context.Context, n guest.Node) (string, error) {
	_, err := f.file(ctx, n)
	if err == nil {
		err = fmt.Errorf("exfat: node %d is no link: %w", n, guest.ErrNotExist)
	}
	return "", err
}

// Xattrs implements guest.Filesystem: there are none.
func (f *FS) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	_, err := f.file(ctx, n)
	return nil, err
}

// maxDirs is the most directories of a volume that Files walks.
const maxDirs = 1 << 20

// Files implements guest.Filesystem, directory by directory: there is no other
// table of files. Damage ends a file or a directory, and the first damage of a
// directory is the error in the end.
func (f *FS) Files(ctx context.Context, fn func(n guest.Node, size int64, e guest.Extent) bool) error {
	pending, seen := []stream{f.root}, map[uint32]bool{f.root.cluster: true}
	var damage error
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		stopped := false
		var failed error
		err := f.eachFound(ctx, dir, func(x found) bool {
			switch {
			case !x.dir():
				failed = f.eachExtent(ctx, x.stream, 0, func(e guest.Extent) bool {
					stopped = !e.Hole && !fn(x.node, x.size, e)
					return !stopped
				})
				if errors.Is(failed, guest.ErrCorrupt) {
					failed = nil
				}
			case x.size > 0 && !seen[x.cluster] && len(seen) < maxDirs:
				seen[x.cluster] = true
				pending = append(pending, x.stream)
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
