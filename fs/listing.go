package fs

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// listing is an open directory. It asks for the names when it is read first,
// and again when it is rewound. go-fuse calls it for one request at a time.
type listing struct {
	load    func(context.Context) ([]fuse.DirEntry, syscall.Errno)
	dots    [2]fuse.DirEntry // their offsets are 1 and 2
	loaded  bool
	entries []fuse.DirEntry // in the order of their offsets; others have them, too
	next    int             // among the dots and entries
	last    fuse.DirEntry   // that was told
}

var (
	_ fusefs.FileReaddirenter = (*listing)(nil)
	_ fusefs.FileSeekdirer    = (*listing)(nil)
)

// Readdirent implements fusefs.FileReaddirenter. What it returns stays until the next
// call: go-fuse copies it, and changes its offset where that is 0.
func (l *listing) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if errno := l.fill(ctx); errno != 0 {
		return nil, errno
	}
	switch i := l.next - len(l.dots); {
	case i < 0:
		l.last = l.dots[l.next]
	case i < len(l.entries):
		l.last = l.entries[i]
	default:
		return nil, 0
	}
	l.next++
	return &l.last, 0
}

// fill asks for the names unless they are there.
func (l *listing) fill(ctx context.Context) (errno syscall.Errno) {
	if !l.loaded {
		l.entries, errno = l.load(ctx)
		l.loaded = errno == 0
	}
	return errno
}

// opendir opens a directory whose names load tells; . and .. come of
// themselves.
func (n *node) opendir(load func(context.Context) ([]fuse.DirEntry, syscall.Errno)) *listing {
	up := n.StableAttr().Ino
	if _, parent := n.Parent(); parent != nil {
		up = parent.StableAttr().Ino
	}
	return &listing{load: load, dots: [2]fuse.DirEntry{
		{Name: ".", Mode: syscall.S_IFDIR, Ino: n.StableAttr().Ino, Off: 1},
		{Name: "..", Mode: syscall.S_IFDIR, Ino: up, Off: 2},
	}}
}

// Seekdir implements fusefs.FileSeekdirer. It goes on behind the entry of an offset, also
// where that is no more.
func (l *listing) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 {
		l.entries, l.loaded, l.next = nil, false, 0
		return 0
	}
	if errno := l.fill(ctx); errno != 0 {
		return errno
	}
	if off < uint64(len(l.dots)) {
		l.next = int(off)
		return 0
	}
	l.next = len(l.dots) + sort.Search(len(l.entries), func(i int) bool { return l.entries[i].Off > off })
	return 0
}

// firstEntry is the offset of the first entry behind the dots.
const firstEntry = 3

// changing are the entries of a directory that changes. Each has the same offset for as long
// as it is there, so who reads a part of them, and the rest after names have come and gone, gets
// each of those that stayed once. The zero value holds none.
type changing struct {
	entries []fuse.DirEntry // in the order of their offsets
	made    uint64          // offsets so far
}

// set replaces the entries. It sorts list and keeps it; what it had before is not touched.
func (c *changing) set(list []fuse.DirEntry) {
	had := make(map[string]uint64, len(c.entries))
	for _, e := range c.entries {
		had[e.Name] = e.Off
	}
	for i := range list {
		off, ok := had[list[i].Name]
		if !ok {
			off = firstEntry + c.made
			c.made++
		}
		list[i].Off = off
	}
	slices.SortFunc(list, func(a, b fuse.DirEntry) int { return cmp.Compare(a.Off, b.Off) })
	c.entries = list
}
