package fs

import (
	"context"
	"maps"
	"slices"
	"syscall"

	"holdfast/fs/guest"
)

// Getxattr implements fusefs.NodeGetxattrer: guests' attributes by their own
// names, so that getfattr, getfacl and rsync -X see them.
func (n *guestNode) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	all, errno := n.xattrs(ctx)
	if errno != 0 {
		return 0, errno
	}
	value, ok := all[name]
	if !ok {
		return 0, syscall.ENODATA
	}
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}

// Listxattr implements fusefs.NodeListxattrer.
func (n *guestNode) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	all, errno := n.xattrs(ctx)
	if errno != 0 {
		return 0, errno
	}
	var list []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(append(list, name...), 0)
	}
	if len(dest) < len(list) {
		return uint32(len(list)), syscall.ERANGE
	}
	return uint32(copy(dest, list)), 0
}

func (n *guestNode) xattrs(ctx context.Context) (all map[string][]byte, errno syscall.Errno) {
	if n.g.space.Volume(n.at) == nil || n.bare.Load() {
		return nil, 0 // the directory of drives, or it was seen to have none
	}
	errno = n.with(ctx, "read extended attributes", func(ctx context.Context, fs guest.Filesystem) (err error) {
		all, err = fs.Xattrs(ctx, n.at.Node)
		return err
	})
	if errno == 0 && len(all) == 0 {
		n.bare.Store(true)
	}
	return all, errno
}
