package fs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// textNode is a small file. Of many only the size is wanted, so that is what it keeps.
type textNode struct {
	node
	size int
	text func() ([]byte, error) // the same size bytes at each call, not to be changed
	at   time.Time
}

// openText is a textNode that somebody has open.
type openText struct{ text []byte }

var (
	_ fusefs.NodeOpener    = (*textNode)(nil)
	_ fusefs.NodeGetattrer = (*textNode)(nil)
	_ fusefs.FileReader    = (*openText)(nil)
)

// newText makes a node of bytes that stay in memory.
func newText(t *tree, text []byte, at time.Time) *textNode {
	return &textNode{node: node{t: t}, size: len(text), text: func() ([]byte, error) { return text, nil }, at: at}
}

// enter answers a look-up with n.
func (n *textNode) enter(ctx context.Context, parent *fusefs.Inode, id fusefs.StableAttr, out *fuse.EntryOut) *fusefs.Inode {
	n.fill(&out.Attr)
	keep(out, forLong)
	return parent.NewInode(ctx, n, id)
}

func (n *textNode) fill(a *fuse.Attr) {
	n.t.fill(a, fileMode, uint64(n.size), uint64(n.size+511)/512, n.at)
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
	text, err := n.text()
	if err == nil && len(text) != n.size {
		err = fmt.Errorf("a text of %d bytes has %d now", n.size, len(text))
	}
	return &openText{text}, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, n.t.errno(ctx, place{op: "open a text"}, err)
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

// Read implements fusefs.FileReader.
func (o *openText) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	from := min(max(off, 0), int64(len(o.text)))
	to := min(from+int64(len(dest)), int64(len(o.text)))
	return fuse.ReadResultData(o.text[from:to]), 0
}
