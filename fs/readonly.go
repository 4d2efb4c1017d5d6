package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// readOnly answers everything that would change the tree with EROFS. The mount
// is read-only, so the kernel lets none of it through; but go-fuse's default
// answer to Unlink and Rmdir is success, and a remount rw must not find that.
type readOnly struct{}

var (
	_ fusefs.NodeUnlinker       = readOnly{}
	_ fusefs.NodeRmdirer        = readOnly{}
	_ fusefs.NodeRenamer        = readOnly{}
	_ fusefs.NodeMkdirer        = readOnly{}
	_ fusefs.NodeMknoder        = readOnly{}
	_ fusefs.NodeCreater        = readOnly{}
	_ fusefs.NodeTmpfiler       = readOnly{}
	_ fusefs.NodeLinker         = readOnly{}
	_ fusefs.NodeSymlinker      = readOnly{}
	_ fusefs.NodeSetattrer      = readOnly{}
	_ fusefs.NodeWriter         = readOnly{}
	_ fusefs.NodeAllocater      = readOnly{}
	_ fusefs.NodeCopyFileRanger = readOnly{}
	_ fusefs.NodeSetxattrer     = readOnly{}
	_ fusefs.NodeRemovexattrer  = readOnly{}
	_ fusefs.NodeFsyncer        = readOnly{}
)

func (readOnly) Unlink(context.Context, string) syscall.Errno { return syscall.EROFS }

func (readOnly) Rmdir(context.Context, string) syscall.Errno { return syscall.EROFS }

func (readOnly) Rename(context.Context, string, fusefs.InodeEmbedder, string, uint32) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Mkdir(context.Context, string, uint32, *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, syscall.EROFS
}

func (readOnly) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, syscall.EROFS
}

func (readOnly) Create(context.Context, string, uint32, uint32, *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EROFS
}

func (readOnly) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EROFS
}

func (readOnly) Link(context.Context, fusefs.InodeEmbedder, string, *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, syscall.EROFS
}

func (readOnly) Symlink(context.Context, string, string, *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, syscall.EROFS
}

func (readOnly) Setattr(context.Context, fusefs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) Write(context.Context, fusefs.FileHandle, []byte, int64) (uint32, syscall.Errno) {
	return 0, syscall.EROFS
}

func (readOnly) Allocate(context.Context, fusefs.FileHandle, uint64, uint64, uint32) syscall.Errno {
	return syscall.EROFS
}

func (readOnly) CopyFileRange(context.Context, fusefs.FileHandle, uint64, *fusefs.Inode, fusefs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.EROFS
}

func (readOnly) Setxattr(context.Context, string, []byte, uint32) syscall.Errno { return syscall.EROFS }

func (readOnly) Removexattr(context.Context, string) syscall.Errno { return syscall.EROFS }

// Fsync succeeds: there is nothing to write. go-fuse's default is ENOTSUP,
// which copies and qemu take for a failing disk.
func (readOnly) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno { return 0 }
