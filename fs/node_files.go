package fs

import (
	"context"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore/catalog"
)

// filesNode is MNT/<vm>/<id>/files, and with a disk MNT/<vm>/<id>/files/<disk>:
// the directories above the guests' own files. The disks are looked into when
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
	found *guestVolumes
}

func (f *foundOnce) get(ctx context.Context, t *tree, v *catalog.Version) (*guestVolumes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found == nil {
		found, err := t.findVolumes(ctx, v)
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
	if n.disk == "" {
		for i := range n.v.Disks {
			list = append(list, n.diskEntry(n.v.Disks[i].Name))
		}
		return append(list, n.volumesEntry()), nil
	}
	err = patiently(ctx, func(ctx context.Context) error {
		found, err := n.found.get(ctx, n.t, n.v)
		if err != nil {
			return err
		}
		list = nil
		for _, g := range found.shown {
			if g.disk == n.disk {
				list = append(list, n.volumeEntry(g))
			}
		}
		return nil
	})
	return list, err
}

func (n *filesNode) diskEntry(disk string) versionEntry {
	id := n.t.identifyIn(n.v, dirMode, "files of disk", disk)
	return versionEntry{Escape(disk), id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
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
				b, err = found.describe(ctx)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		text := &textNode{node: node{t: n.t}, text: b, at: n.v.Time}
		return text.enter(ctx, &n.Inode, id, out), nil
	}}
}

// volumeEntry is the root of a volume. Its inode is that of the guest's root; the
// listing, which must not open the volume, tells another number, as it does for
// a mount point.
func (n *filesNode) volumeEntry(g *guestVolume) versionEntry {
	id := n.t.identifyIn(n.v, dirMode, "volume", g.disk, g.vol.Name)
	return versionEntry{Escape(g.vol.Name), id, func(ctx context.Context, out *fuse.EntryOut) (*fusefs.Inode, error) {
		var ch *fusefs.Inode
		err := patiently(ctx, func(ctx context.Context) error {
			fs, err := g.open(ctx)
			if err != nil {
				return err
			}
			ch, err = enterGuest(ctx, &n.Inode, g, fs, fs.Root(), out)
			return err
		})
		return ch, err
	}}
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
	list, err := n.entries(ctx)
	ch, err := enterNamed(ctx, list, err, name, out)
	if err != nil {
		return nil, n.t.errno(ctx, n.place("look up "+name), err)
	}
	keep(out, forLong)
	return ch, 0
}

// OpendirHandle implements fusefs.NodeOpendirHandler.
func (n *filesNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return n.opendir(func(ctx context.Context) ([]fuse.DirEntry, syscall.Errno) {
		n.t.count.listings.Add(1)
		list, err := n.entries(ctx)
		return dirEntries(list), n.t.errno(ctx, n.place("list files"), err)
	}), fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}
