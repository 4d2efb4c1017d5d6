package fs

import (
	"context"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// textNode is a small file whose bytes are in memory.
type textNode struct {
	node
	text []byte
	at   time.Time
}

var (
	_ fusefs.NodeOpener    = (*textNode)(nil)
	_ fusefs.NodeReader    = (*textNode)(nil)
	_ fusefs.NodeGetattrer = (*textNode)(nil)
)

// enter answers a look-up with n.
func (n *textNode) enter(ctx context.Context, parent *fusefs.Inode, id fusefs.StableAttr, out *fuse.EntryOut) *fusefs.Inode {
	n.fill(&out.Attr)
	keep(out, forLong)
	return parent.NewInode(ctx, n, id)
}

func (n *textNode) fill(a *fuse.Attr) {
	n.t.fill(a, fileMode, uint64(len(n.text)), uint64(len(n.text)+511)/512, n.at)
}

// Getattr implements fusefs.NodeGetattrer.
func (n *textNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	n.fill(&out.Attr)
	out.SetTimeout(forLong)
	return 0
}

// Open implements fusefs.NodeOpener.
func (n *textNode) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if errno := n.t.mayOpen(ctx, flags); errno != 0 {
		return nil, 0, errno
	}
	return nil, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

// mayOpen refuses to open files for writing, and all of them at the end.
func (t *tree) mayOpen(ctx context.Context, flags uint32) syscall.Errno {
	switch {
	case flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0:
		return syscall.EROFS
	case t.closing.Load():
		return t.errno(ctx, place{}, errClosing)
	}
	return 0
}

// Read implements fusefs.NodeReader.
func (n *textNode) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	from := min(max(off, 0), int64(len(n.text)))
	to := min(from+int64(len(dest)), int64(len(n.text)))
	return fuse.ReadResultData(n.text[from:to]), 0
}
