package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// listing is an open directory. It asks for the names when it is read first,
// and again when it is rewound. go-fuse calls it for one request at a time.
type listing struct {
	load    func(context.Context) ([]fuse.DirEntry, syscall.Errno)
	dots    [2]fuse.DirEntry
	loaded  bool
	entries []fuse.DirEntry
	next    int
}

var (
	_ fusefs.FileReaddirenter = (*listing)(nil)
	_ fusefs.FileSeekdirer    = (*listing)(nil)
)

// Readdirent implements fusefs.FileReaddirenter. An entry's offset is its place
// in the list, from 1.
func (l *listing) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !l.loaded {
		list, errno := l.load(ctx)
		if errno != 0 {
			return nil, errno
		}
		l.entries, l.loaded = append(l.dots[:], list...), true
	}
	if l.next >= len(l.entries) {
		return nil, 0
	}
	e := l.entries[l.next]
	l.next++
	e.Off = uint64(l.next)
	return &e, 0
}

// opendir opens a directory whose names load tells; . and .. come of
// themselves.
func (n *node) opendir(load func(context.Context) ([]fuse.DirEntry, syscall.Errno)) *listing {
	up := n.StableAttr().Ino
	if _, parent := n.Parent(); parent != nil {
		up = parent.StableAttr().Ino
	}
	return &listing{load: load, dots: [2]fuse.DirEntry{
		{Name: ".", Mode: syscall.S_IFDIR, Ino: n.StableAttr().Ino},
		{Name: "..", Mode: syscall.S_IFDIR, Ino: up},
	}}
}

// Seekdir implements fusefs.FileSeekdirer.
func (l *listing) Seekdir(_ context.Context, off uint64) syscall.Errno {
	if off == 0 {
		l.entries, l.loaded = nil, false
	} else if off > uint64(len(l.entries)) {
		return syscall.EINVAL
	}
	l.next = int(off)
	return 0
}
