package fs

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"holdfast/chunkstore/catalog"
	"holdfast/fs/files"
	"holdfast/fs/guest"
)

// guestTree is a tree of a guest's files: a volume, or the guest's namespace.
type guestTree struct {
	t     *tree
	v     *catalog.Version
	space *files.Space
	name  string // rootName, or "" for a volume by itself
}

// guestNode is a file of a guest: a directory, a file, a link or what else there
// is. It holds its numbers only; the filesystem may be closed and opened again
// between two requests.
type guestNode struct {
	node
	g    *guestTree
	at   files.Place
	bare atomic.Bool // it has no extended attributes, for which ls -l asks twice a file
}

var (
	_ fusefs.NodeLookuper       = (*guestNode)(nil)
	_ fusefs.NodeOpendirHandler = (*guestNode)(nil)
	_ fusefs.NodeGetattrer      = (*guestNode)(nil)
	_ fusefs.NodeAccesser       = (*guestNode)(nil)
	_ fusefs.NodeReadlinker     = (*guestNode)(nil)
	_ fusefs.NodeOpener         = (*guestNode)(nil)
	_ fusefs.NodeLseeker        = (*guestNode)(nil)
	_ fusefs.NodeGetxattrer     = (*guestNode)(nil)
	_ fusefs.NodeListxattrer    = (*guestNode)(nil)
)

// guestModes are the file types of stat(2).
var guestModes = map[guest.Type]uint32{
	guest.Regular: syscall.S_IFREG, guest.Directory: syscall.S_IFDIR, guest.Symlink: syscall.S_IFLNK,
	guest.CharDevice: syscall.S_IFCHR, guest.BlockDevice: syscall.S_IFBLK, guest.FIFO: syscall.S_IFIFO, guest.Socket: syscall.S_IFSOCK,
}

// identify names a file of the tree for the kernel. Names of the same file (hard
// links) have the same. A volume in the namespace is not the volume by itself:
// a directory must have one place only.
func (g *guestTree) identify(p files.Place, mode uint32) fusefs.StableAttr {
	vol := g.space.Volume(p)
	if vol == nil {
		return g.t.identifyIn(g.v, mode, "guest drives")
	}
	number := binary.LittleEndian.AppendUint64(nil, uint64(p.Node))
	if g.name == "" {
		return g.t.identifyIn(g.v, mode, "guest file", vol.Disk(), vol.Name, string(number))
	}
	mount := binary.LittleEndian.AppendUint64(nil, uint64(p.Mount))
	return g.t.identifyIn(g.v, mode, "guest file in "+g.name, string(mount), string(number))
}

// enter answers a look-up that found p.
func (g *guestTree) enter(ctx context.Context, parent *fusefs.Inode, p files.Place, out *fuse.EntryOut) (*fusefs.Inode, error) {
	a, err := g.space.Stat(ctx, p)
	if err != nil {
		return nil, err
	}
	g.fill(&out.Attr, p, a)
	return parent.NewInode(ctx, &guestNode{node: node{t: g.t}, g: g, at: p}, g.identify(p, out.Attr.Mode)), nil
}

func (g *guestTree) fill(out *fuse.Attr, p files.Place, a guest.Attr) {
	if g.space.Volume(p) == nil { // the directory of drives, which is ours
		g.t.fill(out, dirMode, 0, 0, g.v.Time)
		return
	}
	out.Mode = guestModes[a.Type] | uint32(a.Perm)
	out.Size, out.Blocks, out.Blksize = uint64(a.Size), uint64(a.Allocated+511)/512, 4096
	out.Nlink, out.Uid, out.Gid, out.Rdev = a.Links, a.UID, a.GID, uint32(a.Rdev)
	if o := g.t.owner; o != nil {
		out.Uid, out.Gid = o.UID, o.GID
	}
	out.SetTimes(&a.Atime, &a.Mtime, &a.Ctime)
}

func (g *guestTree) place(op string, p files.Place) place {
	if v := g.space.Volume(p); v != nil {
		op += " in volume " + v.Name
	}
	return place{op: op, vm: g.v.VM, version: g.v.ID}
}

// try runs op, and tells the kernel of its error.
func (n *guestNode) try(ctx context.Context, what string, op func(ctx context.Context) error) syscall.Errno {
	return n.t.errno(ctx, n.g.place(what, n.at), patiently(ctx, op))
}

// with runs op with the volume's filesystem.
func (n *guestNode) with(ctx context.Context, what string, op func(ctx context.Context, fs guest.Filesystem) error) syscall.Errno {
	return n.try(ctx, what, func(ctx context.Context) error {
		fs, err := n.g.space.Open(ctx, n.at)
		if err != nil {
			return err
		}
		return op(ctx, fs)
	})
}

// Access implements fusefs.NodeAccesser. Whoever may enter the mount may read;
// without this go-fuse would refuse by the guest's modes what reading allows.
func (n *guestNode) Access(_ context.Context, mask uint32) syscall.Errno {
	if mask&unix.W_OK != 0 {
		return syscall.EROFS
	}
	return 0
}

// Getattr implements fusefs.NodeGetattrer.
func (n *guestNode) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	return n.try(ctx, "stat", func(ctx context.Context) error {
		a, err := n.g.space.Stat(ctx, n.at)
		if err == nil {
			n.g.fill(&out.Attr, n.at, a)
			out.SetTimeout(forLong)
		}
		return err
	})
}

// Lookup implements fusefs.NodeLookuper.
func (n *guestNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (ch *fusefs.Inode, errno syscall.Errno) {
	n.t.count.lookups.Add(1)
	errno = n.try(ctx, "look up a name", func(ctx context.Context) error {
		found, err := n.g.space.Lookup(ctx, n.at, name)
		if err == nil {
			ch, err = n.g.enter(ctx, &n.Inode, found, out)
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
		s, err := fs.Readlink(ctx, n.at.Node)
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
	if w := n.t.follow; w != nil {
		w.trail.opened(listedKey{n.g, n.at})
	}
	return &openGuest{n: n}, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

// Lseek implements fusefs.NodeLseeker for SEEK_HOLE and SEEK_DATA.
func (n *guestNode) Lseek(ctx context.Context, _ fusefs.FileHandle, off uint64, whence uint32) (uint64, syscall.Errno) {
	n.t.count.seeks.Add(1)
	if whence != unix.SEEK_HOLE && whence != unix.SEEK_DATA {
		return 0, syscall.EINVAL
	}
	at, found := int64(0), false
	errno := n.with(ctx, opSeek, func(ctx context.Context, fs guest.Filesystem) error {
		a, err := fs.Stat(ctx, n.at.Node)
		if err != nil || off >= uint64(a.Size) {
			return err
		}
		at, found, err = seekGuest(ctx, fs, n.at.Node, a.Size, int64(off), whence == unix.SEEK_DATA)
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
