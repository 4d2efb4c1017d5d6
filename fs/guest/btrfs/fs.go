package btrfs

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
)

// What is kept in memory: nodes of trees, and decoded extents.
const (
	nodeBytes   = 10 << 20
	extentBytes = 2 << 20
)

// FS is an open filesystem. All methods are safe for concurrent use.
type FS struct {
	self    *device            // the volume that was opened
	devices map[uint64]*device // those that are here, by number
	items   []deviceItem       // of all devices
	sb      *superblock        // the newest one
	chunks  []chunk            // in order of start
	root    tree               // the tree of trees
	top     guest.Node         // the root directory
	log     *logged            // what was replayed; nil for none
	nodes   *blockcache.Cache
	extents *blockcache.Cache
	coders  coders
	state   guest.State
	lax     bool // checksums count as right: for tests of what stands behind them

	mu    sync.Mutex // guards trees
	trees map[uint64]*tree
}

var _ guest.Filesystem = (*FS)(nil)

// Open opens the btrfs of a volume, whose other devices are among others; the
// first one and volumes of other filesystems may be among them too. The places
// that Extents, Files and Free tell are those of the first one. Missing devices
// are no error where there are copies of what is read. Errors: guest.ErrNotMine,
// guest.ErrUnsupported with the features that can't be read, guest.ErrCorrupt,
// ctx's, or the volume's own. A log that can't be replayed is no error: see
// State.
func Open(ctx context.Context, v guest.Volume, others ...guest.Volume) (*FS, error) {
	return openFS(ctx, &FS{}, v, others)
}

func openFS(ctx context.Context, f *FS, v guest.Volume, others []guest.Volume) (*FS, error) {
	f.nodes, f.extents = blockcache.New(nodeBytes), blockcache.New(extentBytes)
	f.trees = map[uint64]*tree{}
	if err := f.gatherDevices(ctx, v, others); err != nil {
		return nil, err
	}
	if err := f.readChunks(ctx); err != nil {
		return nil, fmt.Errorf("read the chunks: %w", f.explain(err))
	}
	f.root = tree{id: treeRoot, root: f.sb.root}
	if err := f.recover(ctx); err != nil {
		return nil, err
	}
	if err := f.findRoot(ctx); err != nil {
		return nil, fmt.Errorf("find the root: %w", f.explain(err))
	}
	f.describe()
	return f, nil
}

// explain adds to an error what devices are missing.
func (f *FS) explain(err error) error {
	if n := uint64(len(f.devices)); n < f.sb.deviceCount {
		return fmt.Errorf("%d of the %d devices are here: %w", n, f.sb.deviceCount, err)
	}
	return err
}

// findRoot finds the root directory, so that garbage with a magic number is no
// filesystem.
func (f *FS) findRoot(ctx context.Context) error {
	id, err := f.defaultVolume(ctx)
	if err != nil {
		return err
	}
	t, err := f.volume(ctx, id)
	if isAbsent(err) && id != treeTop {
		id = treeTop
		t, err = f.volume(ctx, id)
	}
	if err != nil {
		return f.damaged(err)
	}
	in, err := f.inodeIn(ctx, t, t.dir)
	if err != nil {
		return f.damaged(err)
	}
	if !in.is(modeDir) {
		return guest.Corrupt("btrfs: the root, inode %d of subvolume %d, is no directory", t.dir, id)
	}
	if id != treeTop {
		f.note("the root is that of the default subvolume, %d", id)
	}
	f.top, err = nodeOf(id, t.dir)
	return err
}

// damaged turns an absence into damage.
func (f *FS) damaged(err error) error {
	if isAbsent(err) {
		return guest.Corrupt("btrfs: no root: %v", err)
	}
	return err
}

// note adds to what the state tells.
func (f *FS) note(format string, args ...any) {
	f.state.Reason = strings.TrimPrefix(f.state.Reason+"; "+fmt.Sprintf(format, args...), "; ")
}

// describe fills in the state.
func (f *FS) describe() {
	f.state.Type, f.state.Label, f.state.UUID = "btrfs", f.sb.label, formatID(f.sb.fsid)
	f.state.Size, f.state.Used, f.state.Block = int64(f.sb.totalBytes), int64(f.sb.used), int64(f.sb.sectorSize)
	if names := f.missing(); names != "" {
		f.note("%d of its %d devices are missing: %s", len(f.items)-len(f.devices), len(f.items), names)
	}
	if size := uint64(f.self.Size()); f.self.super.device.bytes > size {
		f.note("this device is cut off: %d bytes of %d", size, f.self.super.device.bytes)
	}
}

// State implements guest.Filesystem. Size and Used are those of all devices.
func (f *FS) State() guest.State { return f.state }

// Root implements guest.Filesystem. It is the root of the subvolume that the
// kernel mounts when no option names another.
func (f *FS) Root() guest.Node { return f.top }
