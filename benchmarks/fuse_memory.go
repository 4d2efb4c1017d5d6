package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// serveMemoryFlag makes this program serve a file of zeros from memory: what
// FUSE itself costs. Its value is the mount point, its argument the file's size.
const serveMemoryFlag = "serve-memory"

// fuseFromMemory reads such a file.
func (b *bench) fuseFromMemory(name string, size int64, read reader) contestant {
	return through(name, func(ctx context.Context) (string, *mounted, error) {
		self, err := os.Executable()
		if err != nil {
			return "", nil, err
		}
		mnt := b.path("memory-mnt")
		path := filepath.Join(mnt, "zeros")
		m, err := serve(ctx, nil, mnt, path, self, "-"+serveMemoryFlag, mnt, fmt.Sprint(size))
		return path, m, err
	}, nil, read)
}

// serveMemory serves until it is unmounted, with the options of holdfast's mount.
func serveMemory(mnt, size string) error {
	var n uint64
	if _, err := fmt.Sscan(size, &n); err != nil {
		return fmt.Errorf("-%s: size %q: %w", serveMemoryFlag, size, err)
	}
	srv, err := fusefs.Mount(mnt, &memoryDir{size: n}, &fusefs.Options{MountOptions: fuse.MountOptions{
		Name: "holdfast-bench", MaxWrite: memoryRead, MaxBackground: 64, DisableSplice: true, DirectMount: true,
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
	}})
	if err != nil {
		return fmt.Errorf("mount on %s: %w", mnt, err)
	}
	if err := readAhead(mnt, "2048"); err != nil {
		return err
	}
	srv.Wait()
	return nil
}

// readAhead sets a mount's readahead as holdfast does.
func readAhead(mnt, kib string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(mnt, &st); err != nil {
		return err
	}
	dev := fmt.Sprintf("%d:%d", st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&0xfff00)
	return os.WriteFile(filepath.Join("/sys/class/bdi", dev, "read_ahead_kb"), []byte(kib), 0)
}

const memoryRead = 1 << 20

var zeros [memoryRead]byte

type memoryDir struct {
	fusefs.Inode
	size uint64
}

// OnAdd implements fs.NodeOnAdder.
func (d *memoryDir) OnAdd(ctx context.Context) {
	d.AddChild("zeros", d.NewPersistentInode(ctx, &memoryFile{size: d.size}, fusefs.StableAttr{}), false)
}

type memoryFile struct {
	fusefs.Inode
	size uint64
}

// Getattr implements fs.NodeGetattrer.
func (f *memoryFile) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = f.size, 0o444
	return 0
}

// Open implements fs.NodeOpener.
func (f *memoryFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

// Read implements fs.NodeReader.
func (f *memoryFile) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := min(int64(len(dest)), max(0, int64(f.size)-off))
	return fuse.ReadResultData(zeros[:n]), 0
}

// asMemoryServer tells whether this process was started by fuseFromMemory.
func asMemoryServer(args []string) bool {
	return len(args) == 4 && strings.TrimLeft(args[1], "-") == serveMemoryFlag
}
