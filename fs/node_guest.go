package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// guestNode is a file of a guest: a directory, a file, a link or what else there
// is. It holds its number only; the filesystem may be closed and opened again
// between two requests.
type guestNode struct {
	node
	g *guestVolume
	n guest.Node
}

var (
	_ fusefs.NodeLookuper       = (*guestNode)(nil)
	_ fusefs.NodeOpendirHandler = (*guestNode)(nil)
	_ fusefs.NodeGetattrer      = (*guestNode)(nil)
	_ fusefs.NodeReadlinker     = (*guestNode)(nil)
	_ fusefs.NodeOpener         = (*guestNode)(nil)
	_ fusefs.NodeReader         = (*guestNode)(nil)
	_ fusefs.NodeLseeker        = (*guestNode)(nil)
	_ fusefs.NodeGetxattrer     = (*guestNode)(nil)
	_ fusefs.NodeListxattrer    = (*guestNode)(nil)
)

// guestModes are the file types of stat(2).
var guestModes = map[guest.Type]uint32{
	guest.Regular: syscall.S_IFREG, guest.Directory: syscall.S_IFDIR, guest.Symlink: syscall.S_IFLNK,
	guest.CharDevice: syscall.S_IFCHR, guest.BlockDevice: syscall.S_IFBLK, guest.FIFO: syscall.S_IFIFO, guest.Socket: syscall.S_IFSOCK,
}

// identify names a file of the volume for the kernel. Names of the same file (hard
// links) have the same.
func (g *guestVolume) identify(n guest.Node, mode uint32) fusefs.StableAttr {
	number := binary.LittleEndian.AppendUint64(nil, uint64(n))
	return g.t.identifyIn(g.v, mode, "guest file", g.disk, g.vol.Name, string(number))
}

// enterGuest answers a look-up that found n.
func enterGuest(ctx context.Context, parent *fusefs.Inode, g *guestVolume, fs guest.Filesystem, n guest.Node, out *fuse.EntryOut) (*fusefs.Inode, error) {
	a, err := fs.Stat(ctx, n)
	if err != nil {
		return nil, err
	}
	fillGuest(&out.Attr, a)
	return parent.NewInode(ctx, &guestNode{node: node{t: g.t}, g: g, n: n}, g.identify(n, out.Attr.Mode)), nil
}

func fillGuest(out *fuse.Attr, a guest.Attr) {
	out.Mode = guestModes[a.Type] | uint32(a.Perm)
	out.Size, out.Blocks, out.Blksize = uint64(a.Size), uint64(a.Allocated+511)/512, 4096
	out.Nlink, out.Uid, out.Gid, out.Rdev = a.Links, a.UID, a.GID, uint32(a.Rdev)
	out.SetTimes(&a.Atime, &a.Mtime, &a.Ctime)
}

// with runs op with the volume's filesystem.
func (n *guestNode) with(ctx context.Context, what string, op func(ctx context.Context, fs guest.Filesystem) error) syscall.Errno {
	err := patiently(ctx, func(ctx context.Context) error {
		fs, err := n.g.open(ctx)
		if err != nil {
			return err
		}
		return op(ctx, fs)
	})
	return n.t.errno(ctx, n.g.place(what), err)
}

// Getattr implements fusefs.NodeGetattrer.
func (n *guestNode) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	return n.with(ctx, "stat", func(ctx context.Context, fs guest.Filesystem) error {
		a, err := fs.Stat(ctx, n.n)
		if err == nil {
			fillGuest(&out.Attr, a)
			out.SetTimeout(forLong)
		}
		return err
	})
}

// Lookup implements fusefs.NodeLookuper.
func (n *guestNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (ch *fusefs.Inode, errno syscall.Errno) {
	n.t.count.lookups.Add(1)
	errno = n.with(ctx, "look up a name", func(ctx context.Context, fs guest.Filesystem) error {
		found, err := fs.Lookup(ctx, n.n, name)
		if err == nil {
			ch, err = enterGuest(ctx, &n.Inode, n.g, fs, found, out)
		}
		return err
	})
	if errno == 0 {
		keep(out, forLong)
	}
	return ch, errno
}

// OpendirHandle implements fusefs.NodeOpendirHandler.
func (n *guestNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	n.t.count.listings.Add(1)
	return &guestListing{n: n}, fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}

// Readlink implements fusefs.NodeReadlinker.
func (n *guestNode) Readlink(ctx context.Context) (target []byte, errno syscall.Errno) {
	errno = n.with(ctx, "read a link", func(ctx context.Context, fs guest.Filesystem) error {
		s, err := fs.Readlink(ctx, n.n)
		target = []byte(s)
		return err
	})
	return target, errno
}

// Open implements fusefs.NodeOpener. The bytes never change.
func (n *guestNode) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if errno := n.t.mayOpen(ctx, flags); errno != 0 {
		return nil, 0, errno
	}
	n.t.count.opens.Add(1)
	return nil, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

// Read implements fusefs.NodeReader.
func (n *guestNode) Read(ctx context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.t.count.reads.Add(1)
	var got int
	errno := n.with(ctx, "read a file", func(ctx context.Context, fs guest.Filesystem) (err error) {
		got, err = fs.ReadAt(ctx, n.n, dest, off)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	if errno != 0 {
		n.t.count.failedReads.Add(1)
		return nil, errno
	}
	n.t.count.readBytes.Add(int64(got))
	return fuse.ReadResultData(dest[:got]), 0
}

// Lseek implements fusefs.NodeLseeker for SEEK_HOLE and SEEK_DATA.
func (n *guestNode) Lseek(ctx context.Context, _ fusefs.FileHandle, off uint64, whence uint32) (uint64, syscall.Errno) {
	n.t.count.seeks.Add(1)
	if whence != unix.SEEK_HOLE && whence != unix.SEEK_DATA {
		return 0, syscall.EINVAL
	}
	at, found := int64(0), false
	errno := n.with(ctx, opSeek, func(ctx context.Context, fs guest.Filesystem) error {
		a, err := fs.Stat(ctx, n.n)
		if err != nil || off >= uint64(a.Size) {
			return err
		}
		at, found, err = seekGuest(ctx, fs, n.n, a.Size, int64(off), whence == unix.SEEK_DATA)
		return err
	})
	if errno == 0 && !found {
		errno = syscall.ENXIO
	}
	return uint64(at), errno
}

// seekGuest finds the first byte at or behind off that is in data, or in a hole;
// the end of the file counts as one.
func seekGuest(ctx context.Context, fs guest.Filesystem, n guest.Node, size, off int64, data bool) (at int64, found bool, err error) {
	end := off
	err = fs.Extents(ctx, n, off, func(e guest.Extent) bool {
		if e.Offset > end && !data { // between extents nothing is stored
			at, found = end, true
		} else if e.Hole != data && e.Length > 0 {
			at, found = max(off, e.Offset), true
		}
		end = e.Offset + e.Length
		return !found && end < size
	})
	if err == nil && !found && !data {
		at, found = min(max(end, off), size), true
	}
	if found && data && at >= size {
		found = false
	}
	return at, found, err
}
