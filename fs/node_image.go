package fs

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/fs/image"
)

// imageNode is MNT/<vm>/<id>/<disk>.<format>.
type imageNode struct {
	node
	v       *catalog.Version
	disk    string
	format  image.Format
	img     image.Image
	data    *disk.Reader
	touched touches
	strewn  atomic.Int32 // reads that belong to no stream, up to manyStrewn
	spread  spread
}

var (
	_ fusefs.NodeOpener    = (*imageNode)(nil)
	_ fusefs.NodeGetattrer = (*imageNode)(nil)
	_ fusefs.NodeLseeker   = (*imageNode)(nil)
)

// newImageNode makes the node of d's image in format f. It reads nothing. data reads the
// disk, and is that of its images in other formats, too.
func newImageNode(t *tree, v *catalog.Version, d *catalog.Disk, f image.Format, data *disk.Reader) (n *imageNode, err error) {
	n = &imageNode{node: node{t: t}, v: v, disk: d.Name, format: f, data: data}
	if n.img, err = image.New(f, n.data, image.Identity{UUID: d.UUID, Time: v.Time}); err != nil {
		return nil, fmt.Errorf("disk %q: %w", d.Name, err)
	}
	return n, nil
}

func (n *imageNode) place(op string, off, length int64) place {
	return place{op: op, vm: n.v.VM, version: n.v.ID, disk: n.disk, format: string(n.format), off: off, n: length}
}

func (n *imageNode) fill(a *fuse.Attr) {
	blocks := uint64(n.img.AllocatedBytes()+511) / 512
	n.t.fill(a, fileMode, uint64(n.img.Size()), blocks, n.v.Time)
}

// Getattr implements fusefs.NodeGetattrer.
func (n *imageNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	n.fill(&out.Attr)
	out.SetTimeout(forLong)
	return 0
}

// Open implements fusefs.NodeOpener. Pages stay in the page cache from one open
// to the next: the bytes are the same for ever.
func (n *imageNode) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if errno := n.t.mayOpen(ctx, flags); errno != 0 {
		return nil, 0, errno
	}
	n.t.count.opens.Add(1)
	return &openImage{n: n, direct: flags&syscall.O_DIRECT != 0}, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

// Lseek implements fusefs.NodeLseeker for SEEK_HOLE and SEEK_DATA; the kernel
// does the others by itself.
func (n *imageNode) Lseek(ctx context.Context, _ fusefs.FileHandle, off uint64, whence uint32) (uint64, syscall.Errno) {
	n.t.count.seeks.Add(1)
	seek := image.SeekData
	switch {
	case whence == unix.SEEK_HOLE:
		seek = image.SeekHole
	case whence != unix.SEEK_DATA:
		return 0, syscall.EINVAL
	}
	if off >= uint64(n.img.Size()) {
		return 0, syscall.ENXIO
	}
	var at int64
	err := patiently(ctx, func(ctx context.Context) (err error) {
		at, err = seek(ctx, n.img, n.data, int64(off))
		return err
	})
	return uint64(at), n.t.errno(ctx, n.place(opSeek, int64(off), 0), err)
}
