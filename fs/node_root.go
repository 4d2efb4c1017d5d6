package fs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore/catalog"
)

// rootNode is MNT: README.txt and the VMs.
type rootNode struct {
	node

	mu   sync.Mutex // guards what follows
	vms  []string   // of which entries were made
	made changing
}

var (
	_ fusefs.NodeLookuper       = (*rootNode)(nil)
	_ fusefs.NodeOpendirHandler = (*rootNode)(nil)
	_ fusefs.NodeGetattrer      = (*rootNode)(nil)
	_ fusefs.NodeStatfser       = (*rootNode)(nil)
)

// Getattr implements fusefs.NodeGetattrer.
func (n *rootNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.count.getattrs.Add(1)
	n.t.fill(&out.Attr, dirMode, 0, 0, n.t.mounted)
	out.SetTimeout(forNow)
	return 0
}

// Lookup implements fusefs.NodeLookuper.
func (n *rootNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	n.t.count.lookups.Add(1)
	if name == readmeName {
		text := newText(n.t, []byte(readme), n.t.mounted)
		return text.enter(ctx, &n.Inode, n.t.identify("readme"), out), 0
	}
	var vm *vmNode
	err := patiently(ctx, func(ctx context.Context) (err error) {
		vm, err = n.find(ctx, name)
		return err
	})
	if err != nil {
		return nil, n.t.errno(ctx, place{op: "look up", vm: name}, err)
	}
	n.t.fill(&out.Attr, dirMode, 0, 0, timeOf(vm.latest()))
	keep(out, forNow)
	id := n.t.identify("vm", vm.vm)
	id.Mode = syscall.S_IFDIR
	return n.NewInode(ctx, vm, id), 0
}

// find returns the node of the VM whose file name is file.
func (n *rootNode) find(ctx context.Context, file string) (*vmNode, error) {
	vm, err := Unescape(file)
	switch {
	case errors.Is(err, ErrShortened):
		if vm, err = n.findShortened(ctx, file); err != nil {
			return nil, err
		}
	case err != nil || Escape(vm) != file:
		return nil, errNoName
	}
	found := &vmNode{node: node{t: n.t}, vm: vm}
	if old := n.GetChild(file); old != nil {
		if v, ok := old.Operations().(*vmNode); ok {
			found = v // it knows what the newest version was
		}
	}
	return found, found.refresh(ctx)
}

func (n *rootNode) findShortened(ctx context.Context, file string) (string, error) {
	vms, err := catalog.VMs(ctx, n.t.store)
	if err != nil {
		return "", err
	}
	for _, vm := range vms {
		if Escape(vm) == file {
			return vm, nil
		}
	}
	return "", errNoName
}

// OpendirHandle implements fusefs.NodeOpendirHandler.
func (n *rootNode) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return n.opendir(n.list), 0, 0
}

func (n *rootNode) list(ctx context.Context) ([]fuse.DirEntry, syscall.Errno) {
	n.t.count.listings.Add(1)
	var vms []string
	err := patiently(ctx, func(ctx context.Context) (err error) {
		vms, err = catalog.VMs(ctx, n.t.store)
		return err
	})
	if err != nil {
		return nil, n.t.errno(ctx, place{op: "list VMs"}, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.made.entries == nil || !slices.Equal(vms, n.vms) {
		n.vms = vms
		n.made.set(n.entries(vms))
	}
	return n.made.entries, 0
}

// entries makes the entries of VMs.
func (n *rootNode) entries(vms []string) []fuse.DirEntry {
	list := []fuse.DirEntry{{Name: readmeName, Mode: fileMode, Ino: n.t.identify("readme").Ino}}
	for _, vm := range vms {
		list = append(list, fuse.DirEntry{Name: Escape(vm), Mode: dirMode, Ino: n.t.identify("vm", vm).Ino})
	}
	return list
}
