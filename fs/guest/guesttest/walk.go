package guesttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"holdfast/fs/guest"
)

// Budgets of a Walk: enough to reach every structure of a small image, and
// bounded whatever a damaged one pretends to hold.
const (
	walkNodes   = 4000
	walkEntries = 20_000
	walkExtents = 20_000
	walkRead    = 256 << 10 // from a file's start; and 4 KiB at its end
	walkTotal   = 32 << 20
)

// Walk does with a filesystem all that can be done, and gives an error only
// when the reader breaks its contract: damage is no error here.
func Walk(ctx context.Context, fs guest.Filesystem) error {
	w := newWalk(ctx, fs)
	w.all()
	if ctx.Err() == nil {
		return w.broken
	}
	return errors.Join(w.broken, ctx.Err())
}

func newWalk(ctx context.Context, fs guest.Filesystem) *walk {
	return &walk{ctx: ctx, fs: fs, seen: map[guest.Node]bool{}, buf: make([]byte, 64<<10)}
}

func (w *walk) all() {
	w.node(w.fs.Root(), 0)
	w.free()
	w.tables()
}

type walk struct {
	noContent bool // of regular files

	ctx     context.Context
	fs      guest.Filesystem
	seen    map[guest.Node]bool
	buf     []byte
	entries int
	read    int64
	broken  error // the first break of the contract
	failed  error // the first error that the reader gave
}

func (w *walk) breach(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// note remembers that the reader gave an error.
func (w *walk) note(err error) {
	if err != nil && !errors.Is(err, io.EOF) && w.failed == nil {
		w.failed = err
	}
}

func (w *walk) node(n guest.Node, depth int) {
	if w.seen[n] || len(w.seen) >= walkNodes || depth > 100 {
		return
	}
	w.seen[n] = true
	attr, err := w.fs.Stat(w.ctx, n)
	w.note(err)
	if err != nil {
		return
	}
	if attr.Size < 0 || attr.Allocated < 0 || attr.Type < guest.Regular || attr.Type > guest.Socket || attr.Perm > 0o7777 {
		w.breach("stat of %d: %+v", n, attr)
	}
	_, err = w.fs.Xattrs(w.ctx, n)
	w.note(err)
	switch attr.Type {
	case guest.Directory:
		w.dir(n, depth)
	case guest.Symlink:
		_, err := w.fs.Readlink(w.ctx, n)
		w.note(err)
	case guest.Regular:
		w.extents(n, attr.Size)
		if !w.noContent {
			w.content(n, attr.Size)
		}
	}
}

func (w *walk) dir(dir guest.Node, depth int) {
	var entries []guest.Entry
	err := w.fs.ReadDir(w.ctx, dir, 0, func(e guest.Entry) bool {
		if e.Cookie == 0 || e.Node == 0 || e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\x00") {
			w.breach("directory %d: entry %+v", dir, e)
		}
		entries = append(entries, e)
		w.entries++
		return w.entries < walkEntries
	})
	w.note(err)
	if len(entries) > 1 {
		count := 0
		err := w.fs.ReadDir(w.ctx, dir, entries[len(entries)/2].Cookie, func(guest.Entry) bool { count++; return count < 10 })
		w.note(err)
	}
	for i, e := range entries {
		if i < 200 {
			_, err := w.fs.Lookup(w.ctx, dir, e.Name)
			w.note(err)
		}
		w.node(e.Node, depth+1)
	}
	if n, err := w.fs.Lookup(w.ctx, dir, "no such name at all"); err == nil {
		w.breach("directory %d: an absent name gives %d", dir, n)
	}
}

func (w *walk) extents(n guest.Node, size int64) {
	end, count := int64(0), 0
	err := w.fs.Extents(w.ctx, n, 0, func(e guest.Extent) bool {
		if e.Offset != end || e.Length < 1 || e.Place < -1 || e.Offset+e.Length > size {
			w.breach("node %d of %d bytes: extent %+v behind %d", n, size, e, end)
			return false
		}
		end = e.Offset + e.Length
		count++
		return count < walkExtents
	})
	w.note(err)
	if err == nil && count < walkExtents && end != size {
		w.breach("node %d: extents end at %d of %d", n, end, size)
	}
}

func (w *walk) content(n guest.Node, size int64) {
	for off := int64(0); off < walkRead && w.read < walkTotal; {
		m, err := w.fs.ReadAt(w.ctx, n, w.buf, off)
		w.note(err)
		if m < 0 || m > len(w.buf) || err == nil && m < len(w.buf) {
			w.breach("node %d: read of %d bytes at %d gives %d and no error", n, len(w.buf), off, m)
		}
		off, w.read = off+int64(m), w.read+int64(m)
		if errors.Is(err, io.EOF) && off != size {
			w.breach("node %d: the end is at %d, not at %d", n, off, size)
		}
		if err != nil || m == 0 {
			break
		}
	}
	_, err := w.fs.ReadAt(w.ctx, n, w.buf[:4096], max(size-4000, 0))
	w.note(err)
}

func (w *walk) free() {
	end, count := int64(0), 0
	size := w.fs.State().Size
	w.note(w.fs.Free(w.ctx, func(r guest.Range) bool {
		if r.Offset < end || r.Length < 1 || r.Offset > size-r.Length {
			w.breach("free range %+v behind %d of %d", r, end, size)
			return false
		}
		end = r.Offset + r.Length
		count++
		return count < walkExtents
	}))
}

func (w *walk) tables() {
	count := 0
	w.note(w.fs.Files(w.ctx, func(n guest.Node, size int64, e guest.Extent) bool {
		if e.Hole || e.Place < 0 || e.Offset < 0 || e.Length < 1 || size < 0 || n == 0 {
			w.breach("files: node %d of %d bytes: %+v", n, size, e)
		}
		count++
		return count < walkExtents
	}))
}
