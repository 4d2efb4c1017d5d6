package guesttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// Options says what a reader and the kernel are known to see differently.
// The zero value compares everything.
type Options struct {
	OtherNodes   bool // nodes are not the kernel's inode numbers
	OtherPlaces  bool // FIEMAP's places are not those of the volume
	NoFiemap     bool // the mount can't tell extents: ours are held against themselves
	GaveBack     bool // the kernel's recovery may have given blocks back: we may count more
	NoAllocated  bool // the kernel's recovery counts blocks anew
	NoGeneration bool // FS_IOC_GETVERSION tells something else
	NoDirSize    bool // a directory's size is not kept on disk
	NoBirth      bool // the kernel tells no time of birth, or another
	// DirsRebuilt says that the kernel's recovery wrote directories anew:
	// their times, sizes and links are its own.
	DirsRebuilt bool
	// Recovery is when the kernel's recovery began, if it sets times of change:
	// those from then on are its own.
	Recovery time.Time
	// Skip leaves out a path (relative to the root) and all beneath it.
	Skip func(path string) bool
}

// maxDifferences ends a comparison that has shown enough.
const maxDifferences = 30

// CompareTree compares the whole tree of fs with the mounted one: path, type,
// mode, owner, size, links, times, device, target, xattrs, content, extents.
// Each name is looked up as well, listings are resumed at several places, and
// Files and Free are held against the extents. The mount must not be in use.
func CompareTree(t testing.TB, fs guest.Filesystem, mountDir string) {
	t.Helper()
	CompareTreeBut(t, fs, mountDir, Options{})
}

// CompareTreeBut is CompareTree with exceptions.
func CompareTreeBut(t testing.TB, fs guest.Filesystem, mountDir string, o Options) {
	t.Helper()
	c := comparison{ctx: t.Context(), fs: fs, dir: mountDir, Options: o, places: map[guest.Node][]guest.Extent{}}
	c.want, c.got = make([]byte, piece), make([]byte, piece)
	c.compareDir("", fs.Root())
	c.compareFiles()
	c.compareFree()
	for _, d := range c.differences {
		t.Error(d)
	}
	t.Logf("compared %d files, %d bytes, %d differences", c.files, c.bytes, len(c.differences))
	if c.files < 2 {
		t.Error("nothing to compare")
	}
}

// comparison is one walk over both trees.
type comparison struct {
	Options
	ctx         context.Context
	fs          guest.Filesystem
	dir         string
	differences []string
	files       int
	bytes       int64
	places      map[guest.Node][]guest.Extent // of regular files; for Files
	want, got   []byte                        // buffers of a piece
}

// differ notes a difference.
func (c *comparison) differ(path, format string, args ...any) {
	if len(c.differences) < maxDifferences {
		c.differences = append(c.differences, fmt.Sprintf("%.120q: ", path)+fmt.Sprintf(format, args...))
	}
}

// full says that there are enough differences.
func (c *comparison) full() bool { return len(c.differences) >= maxDifferences }

// compareNode compares one file, and what is beneath it.
func (c *comparison) compareNode(path string, n guest.Node) {
	if c.Skip != nil && c.Skip(path) || c.full() {
		return
	}
	c.files++
	attr, err := c.fs.Stat(c.ctx, n)
	if err != nil {
		c.differ(path, "stat: %v", err)
		return
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, filepath.Join(c.dir, path), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_ALL, &st); err != nil {
		c.differ(path, "the kernel's stat: %v", err)
		return
	}
	c.compareAttr(path, n, attr, &st)
	c.compareXattrs(path, n)
	switch attr.Type {
	case guest.Directory:
		c.compareDir(path, n)
	case guest.Symlink:
		c.compareLink(path, n)
	case guest.Regular:
		c.compareContent(path, n, attr)
	}
}

// typeOf maps S_IFMT.
func typeOf(mode uint16) guest.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return guest.Regular
	case unix.S_IFDIR:
		return guest.Directory
	case unix.S_IFLNK:
		return guest.Symlink
	case unix.S_IFCHR:
		return guest.CharDevice
	case unix.S_IFBLK:
		return guest.BlockDevice
	case unix.S_IFIFO:
		return guest.FIFO
	}
	return guest.Socket
}

func (c *comparison) compareAttr(path string, n guest.Node, a guest.Attr, st *unix.Statx_t) {
	check := func(what string, got, want any) {
		if got != want {
			c.differ(path, "%s is %v, the kernel says %v", what, got, want)
		}
	}
	kernelTime := func(ts unix.StatxTimestamp) int64 { return ts.Sec*1e9 + int64(ts.Nsec) }
	nanos := func(at time.Time) int64 { return at.Unix()*1e9 + int64(at.Nanosecond()) } // wraps alike on both sides
	check("type", a.Type, typeOf(st.Mode))
	check("attr's node", a.Node, n)
	if !c.OtherNodes {
		check("node", uint64(a.Node), st.Ino)
	}
	check("mode", fmt.Sprintf("%o", a.Perm), fmt.Sprintf("%o", st.Mode&0o7777))
	check("owner", [2]uint32{a.UID, a.GID}, [2]uint32{st.Uid, st.Gid})
	if !c.DirsRebuilt || a.Type != guest.Directory {
		check("links", a.Links, st.Nlink)
	}
	if !c.NoDirSize && !c.DirsRebuilt || a.Type != guest.Directory {
		check("size", a.Size, int64(st.Size))
	}
	if !c.NoAllocated && !(c.GaveBack && a.Allocated > int64(st.Blocks)*512) {
		check("allocated", a.Allocated, int64(st.Blocks)*512)
	}
	if c.DirsRebuilt && a.Type == guest.Directory {
		return
	}
	check("mtime", nanos(a.Mtime), kernelTime(st.Mtime))
	if c.Recovery.IsZero() || kernelTime(st.Ctime) < c.Recovery.UnixNano() {
		check("ctime", nanos(a.Ctime), kernelTime(st.Ctime))
	}
	check("atime", nanos(a.Atime), kernelTime(st.Atime))
	if st.Mask&unix.STATX_BTIME != 0 && !c.NoBirth {
		check("btime", nanos(a.Btime), kernelTime(st.Btime))
	}
	if a.Type == guest.CharDevice || a.Type == guest.BlockDevice {
		check("device", a.Rdev, unix.Mkdev(st.Rdev_major, st.Rdev_minor))
	}
}

func (c *comparison) compareLink(path string, n guest.Node) {
	want, err := os.Readlink(filepath.Join(c.dir, path))
	if err != nil {
		c.differ(path, "the kernel's readlink: %v", err)
		return
	}
	if got, err := c.fs.Readlink(c.ctx, n); err != nil || got != want {
		c.differ(path, "target %.60q, %v; the kernel says %.60q", got, err, want)
	}
}

// compareXattrs compares names and values.
func (c *comparison) compareXattrs(path string, n guest.Node) {
	full := filepath.Join(c.dir, path)
	want, err := kernelXattrs(full)
	if err != nil {
		c.differ(path, "the kernel's xattrs: %v", err)
		return
	}
	got, err := c.fs.Xattrs(c.ctx, n)
	if err != nil {
		c.differ(path, "xattrs: %v", err)
		return
	}
	for name, value := range want {
		if g, ok := got[name]; !ok || string(g) != value {
			c.differ(path, "xattr %s is %.40x (%d bytes), the kernel says %.40x (%d bytes)", name, g, len(g), value, len(value))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			c.differ(path, "xattr %s: the kernel has none", name)
		}
	}
}

func kernelXattrs(path string) (map[string]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", name, err)
		}
		all[name] = string(value[:n])
	}
	return all, nil
}

// compareFree holds the free ranges against the places of all files.
func (c *comparison) compareFree() {
	var free []guest.Range
	end := int64(0)
	err := c.fs.Free(c.ctx, func(r guest.Range) bool {
		if r.Offset < end || r.Length < 1 || r.Offset+r.Length > c.fs.State().Size {
			c.differ("free", "range %+v behind %d, of %d bytes", r, end, c.fs.State().Size)
		}
		end = r.Offset + r.Length
		free = append(free, r)
		return true
	})
	if errors.Is(err, guest.ErrUnsupported) {
		return
	}
	if err != nil {
		c.differ("free", "%v", err)
	}
	if c.OtherPlaces && len(c.places) == 0 {
		return
	}
	for n, extents := range c.places {
		for _, e := range extents {
			i, _ := slices.BinarySearchFunc(free, e.Place, func(r guest.Range, place int64) int {
				if r.Offset+r.Length <= place {
					return -1
				}
				return 1
			})
			if e.Place >= 0 && i < len(free) && free[i].Offset < e.Place+e.Length {
				c.differ("free", "%+v is part of node %d: %+v", free[i], n, e)
			}
		}
	}
}
