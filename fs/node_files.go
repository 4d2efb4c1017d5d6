package fs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore/catalog"
	"holdfast/fs/files"
)

// filesNode is MNT/<vm>/<id>/files, and with a disk MNT/<vm>/<id>/files/<disk>:
// the directories above the guests' own files, and files/root beside the disks,
// which is the guest's own namespace. The disks are looked into when
// somebody looks in here.
type filesNode struct {
	node
	v     *catalog.Version
	disk  string // "": above the disks
	found *foundOnce
}

// foundOnce keeps what was found inside a version's disks. Errors are not kept.
type foundOnce struct {
	mu    sync.Mutex // guards found; held while the disks are looked into
	found *files.Found
}

func (f *foundOnce) get(ctx context.Context, t *tree, v *catalog.Version) (*files.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found == nil {
		found, err := t.files.Find(ctx, v)
		if err != nil {
			return nil, err
		}
		f.found = found
	}
	return f.found, nil
}

var (
	_ fusefs.NodeLookuper       = (*filesNode)(nil)
	_ fusefs.NodeOpendirHandler = (*filesNode)(nil)
	_ fusefs.NodeGetattrer      = (*filesNode)(nil)
)

func (n *filesNode) place(op string) place { return place{op: op, vm: n.v.VM, version: n.v.ID} }

// entries returns the names in the directory.
func (n *filesNode) entries(ctx context.Context) (list []versionEntry, err error) {
	err = patiently(ctx, func(ctx context.Context) error {
		found, err := n.found.get(ctx, n.t, n.v)
		if err != nil {
			return err
		}
		list = nil
		if n.disk == "" {
			list = append(n.fixed(), n.spaceEntries(ctx, found)...)
			return ctx.Err()
		}
		for _, v := range found.Volumes {
			if v.Disk() == n.disk {
				list = append(list, n.volumeEntry(v))
			}
		}
		return nil
	})
	return list, err
}

// fixed returns the names in files/ for which no disk is looked into.
func (n *filesNode) fixed() (list []versionEntry) {
	for i := range n.v.Disks {
		list = append(list, n.diskEntry(n.v.Disks[i].Name))
	}
	return append(list, n.volumesEntry())
}

// spaceEntries returns the guest's namespace, and for Windows a link to each
// drive. Where it can't be put together its name is there and tells the error.
func (n *filesNode) spaceEntries(ctx context.Context, found *files.Found) (list []versionEntry) {
	space, err := found.Space(ctx)
	if err != nil {
		return []versionEntry{n.spaceEntry(found)}
	}
	if space.System == "" {
		return nil
	}
	list = append(list, n.spaceEntry(found))
	for _, m := range space.Mounts {
		if space.System == files.Windows && m.Problem == "" {
			list = append(list, n.driveEntry(m.Path[1:]))
		}
	}
	return list
}

func (n *filesNode) diskEntry(disk string) versionEntry {
	id := n.t.identifyIn(n.v, dirMode, "files of disk", disk)
	return versionEntry{DiskDir(disk), id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		n.t.fill(&out.Attr, dirMode, 0, 0, n.v.Time)
		return n.NewInode(ctx, &filesNode{node: node{t: n.t}, v: n.v, disk: disk, found: n.found}, id), nil
	}}
}

func (n *filesNode) volumesEntry() versionEntry {
	id := n.t.identifyIn(n.v, fileMode, volumesName)
	return versionEntry{volumesName, id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		var b []byte
		err := patiently(ctx, func(ctx context.Context) error {
			found, err := n.found.get(ctx, n.t, n.v)
			if err == nil {
				b, err = volumesJSON(ctx, found)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		text := newText(n.t, b, n.v.Time)
		return text.enter(ctx, &n.Inode, id, out), nil
	}}
}

// driveEntry is a link to a drive in the guest's namespace.
func (n *filesNode) driveEntry(letter string) versionEntry {
	id := n.t.identifyIn(n.v, linkMode, "drive", letter)
	return versionEntry{letter, id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		target := rootName + "/" + letter
		n.t.fill(&out.Attr, linkMode, uint64(len(target)), 0, n.v.Time)
		return n.NewInode(ctx, &fusefs.MemSymlink{Attr: out.Attr, Data: []byte(target)}, id), nil
	}}
}

// spaceEntry is the guest's own namespace.
func (n *filesNode) spaceEntry(found *files.Found) versionEntry {
	id := n.t.identifyIn(n.v, dirMode, rootName)
	return versionEntry{rootName, id, n.enter(func(ctx context.Context) (*guestTree, error) {
		space, err := found.Space(ctx)
		return &guestTree{n.t, n.v, space, rootName}, err
	})}
}

// volumeEntry is the root of a volume. Its inode is that of the guest's root; the
// listing, which must not open the volume, tells another number, as it does for
// a mount point.
func (n *filesNode) volumeEntry(v *files.Volume) versionEntry {
	id := n.t.identifyIn(n.v, dirMode, "volume", v.Disk(), v.Name)
	return versionEntry{Escape(v.Name), id, n.enter(func(ctx context.Context) (*guestTree, error) {
		space, err := files.Single(ctx, v)
		return &guestTree{n.t, n.v, space, ""}, err
	})}
}

// enter answers a look-up of a guest's tree.
func (n *filesNode) enter(open func(context.Context) (*guestTree, error)) func(context.Context, *fuse.EntryOut) (*fusefs.Inode, error) {
	return func(ctx context.Context, out *fuse.EntryOut) (ch *fusefs.Inode, err error) {
		err = patiently(ctx, func(ctx context.Context) error {
			g, err := open(ctx)
			if err != nil {
				return err
			}
			ch, err = g.enter(ctx, &n.Inode, g.space.Root(), out)
			return err
		})
		return ch, err
	}
}

// Getattr implements fusefs.NodeGetattrer.
func (n *filesNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	n.t.fill(&out.Attr, dirMode, 0, 0, n.v.Time)
	out.SetTimeout(forLong)
	return 0
}

// Lookup implements fusefs.NodeLookuper.
func (n *filesNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	n.t.count.lookups.Add(1)
	ch, err := n.find(ctx, name, out)
	if err != nil {
		return nil, n.t.errno(ctx, n.place("look up "+name), err)
	}
	keep(out, forLong)
	return ch, 0
}

// find enters a name. A disk is found whatever the others hold; where it bears
// the name of a drive it goes before that.
func (n *filesNode) find(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, error) {
	if n.disk == "" {
		ch, err := enterNamed(ctx, n.fixed(), nil, name, out)
		if !errors.Is(err, errNoName) {
			return ch, err
		}
	}
	list, err := n.entries(ctx)
	return enterNamed(ctx, list, err, name, out)
}

// OpendirHandle implements fusefs.NodeOpendirHandler.
func (n *filesNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return n.opendir(func(ctx context.Context) ([]fuse.DirEntry, syscall.Errno) {
		n.t.count.listings.Add(1)
		list, err := n.entries(ctx)
		list = slices.CompactFunc(sortedEntries(list), func(a, b versionEntry) bool { return a.name == b.name })
		return dirEntries(list), n.t.errno(ctx, n.place("list files"), err)
	}), fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}

// volumesJSON is volumes.json.
func volumesJSON(ctx context.Context, found *files.Found) ([]byte, error) {
	d, err := found.Describe(ctx, VolumeDir)
	if err != nil {
		return nil, err
	}
	return d.JSON()
}

func sortedEntries(list []versionEntry) []versionEntry {
	slices.SortStableFunc(list, func(a, b versionEntry) int { return strings.Compare(a.name, b.name) })
	return list
}
