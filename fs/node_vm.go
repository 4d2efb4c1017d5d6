package fs

import (
	"context"
	"encoding/binary"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore/catalog"
)

// vmNode is MNT/<vm>: latest and the versions.
type vmNode struct {
	node
	vm string

	mu     sync.Mutex // guards what follows
	newest string     // version id, as far as was seen
	ids    []string   // of which entries were made
	made   changing
}

var (
	_ fusefs.NodeLookuper       = (*vmNode)(nil)
	_ fusefs.NodeOpendirHandler = (*vmNode)(nil)
	_ fusefs.NodeGetattrer      = (*vmNode)(nil)
	_ fusefs.NodeStatfser       = (*vmNode)(nil)
)

// latest is the id of the newest version that refresh saw.
func (n *vmNode) latest() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest
}

// refresh looks for the newest version.
func (n *vmNode) refresh(ctx context.Context) error {
	return patiently(ctx, func(ctx context.Context) error {
		id, err := catalog.Newest(ctx, n.t.store, n.vm, n.latest())
		if err != nil {
			return err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.newest = id
		return nil
	})
}

// Getattr implements fusefs.NodeGetattrer.
func (n *vmNode) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	if err := n.refresh(ctx); err != nil {
		return n.t.errno(ctx, place{op: "stat", vm: n.vm}, err)
	}
	n.t.fill(&out.Attr, dirMode, 0, 0, timeOf(n.latest()))
	out.SetTimeout(forNow)
	return 0
}

// Lookup implements fusefs.NodeLookuper.
func (n *vmNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	n.t.count.lookups.Add(1)
	if name == latestName {
		if err := n.refresh(ctx); err != nil {
			return nil, n.t.errno(ctx, place{op: "look up", vm: n.vm, version: name}, err)
		}
		link := &latestNode{node: node{t: n.t}, id: n.latest()}
		link.fill(&out.Attr)
		out.SetEntryTimeout(forMoment)
		out.SetAttrTimeout(forLong)
		id := n.t.identify("latest", n.vm, link.id)
		id.Mode = syscall.S_IFLNK
		return n.NewInode(ctx, link, id), 0
	}
	var v *catalog.Version
	err := patiently(ctx, func(ctx context.Context) (err error) {
		v, err = catalog.Get(ctx, n.t.store, n.vm, name)
		return err
	})
	if err != nil {
		return nil, n.t.errno(ctx, place{op: "look up", vm: n.vm, version: name}, err)
	}
	n.t.fill(&out.Attr, dirMode, 0, 0, v.Time)
	out.SetEntryTimeout(forNow) // it may be forgotten
	out.SetAttrTimeout(forLong)
	id := n.t.identify("version", n.vm, v.ID)
	id.Mode, id.Gen = syscall.S_IFDIR, binary.LittleEndian.Uint64(v.UUID[:])
	return n.NewInode(ctx, newVersionNode(n.t, v), id), 0
}

// OpendirHandle implements fusefs.NodeOpendirHandler.
func (n *vmNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return n.opendir(n.list), 0, 0
}

func (n *vmNode) list(ctx context.Context) ([]fuse.DirEntry, syscall.Errno) {
	n.t.count.listings.Add(1)
	var ids []string
	err := patiently(ctx, func(ctx context.Context) (err error) {
		ids, err = catalog.IDs(ctx, n.t.store, n.vm)
		return err
	})
	if err != nil {
		return nil, n.t.errno(ctx, place{op: "list versions", vm: n.vm}, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(ids) == 0 || len(ids) != len(n.ids) || &ids[0] != &n.ids[0] { // the slice stays while nothing changes
		n.forgetDeleted(ids)
		n.ids = ids
		n.made.set(n.entries(ids))
	}
	return n.made.entries, 0
}

// entries makes the entries of versions.
func (n *vmNode) entries(ids []string) []fuse.DirEntry {
	list := make([]fuse.DirEntry, 0, len(ids)+1)
	if len(ids) > 0 {
		list = append(list, fuse.DirEntry{Name: latestName, Mode: linkMode, Ino: n.t.identify("latest", n.vm, ids[len(ids)-1]).Ino})
	}
	for _, id := range ids {
		list = append(list, fuse.DirEntry{Name: id, Mode: dirMode, Ino: n.t.identify("version", n.vm, id).Ino})
	}
	return list
}

// forgetDeleted makes the kernel forget versions that it knows and that are no
// more; without it they would stay visible for as long as it may keep them.
func (n *vmNode) forgetDeleted(ids []string) {
	known := n.Children()
	for _, id := range ids {
		delete(known, id)
	}
	delete(known, latestName)
	if len(known) == 0 {
		return
	}
	// Not here: the kernel holds this directory while it lists it, and the
	// notice waits for that.
	go func() {
		for id := range known {
			n.NotifyEntry(id)
		}
	}()
}

// latestNode is MNT/<vm>/latest while one version is the newest. With another it
// is another node, so that the kernel may keep where it leads.
type latestNode struct {
	node
	id string // of the version
}

var (
	_ fusefs.NodeReadlinker = (*latestNode)(nil)
	_ fusefs.NodeGetattrer  = (*latestNode)(nil)
)

func (n *latestNode) fill(a *fuse.Attr) {
	n.t.fill(a, linkMode, uint64(len(n.id)), 0, timeOf(n.id))
}

// Getattr implements fusefs.NodeGetattrer.
func (n *latestNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	n.fill(&out.Attr)
	out.SetTimeout(forLong)
	return 0
}

// Readlink implements fusefs.NodeReadlinker.
func (n *latestNode) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(n.id), 0 }
