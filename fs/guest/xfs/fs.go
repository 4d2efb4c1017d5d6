package xfs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
)

// FS is an open filesystem. All methods are safe for concurrent use.
type FS struct {
	volume  guest.Volume
	sb      superblock
	cache   *blockcache.Cache // of the volume as it is on disk
	overlay overlay           // immutable after Open
	state   guest.State
	lax     bool // checksums count as right: for tests of what stands behind them
}

var _ guest.Filesystem = (*FS)(nil)

// Open opens the XFS filesystem of a volume, and replays its log in memory. Of
// the log it reads what lies around its head, and when it is dirty that which
// must be replayed. Errors: guest.ErrNotMine, guest.ErrUnsupported with the
// features that can't be read, guest.ErrCorrupt, ctx's, or the volume's own. A
// log that can't be replayed is no error: see State.
func Open(ctx context.Context, v guest.Volume) (*FS, error) {
	return openFS(ctx, &FS{volume: v})
}

// openFS opens the volume of f.
func openFS(ctx context.Context, f *FS) (*FS, error) {
	if f.volume.Size() < sector {
		return nil, guest.ErrNotMine
	}
	f.cache = blockcache.New(cacheBytes)
	if err := f.readSuper(ctx); err != nil {
		return nil, err
	}
	if err := f.recover(ctx); err != nil {
		return nil, err
	}
	if err := f.checkRoot(ctx); err != nil {
		return nil, err
	}
	f.describe(ctx)
	return f, nil
}

// readSuper reads and verifies the superblock, after replay if there was one.
func (f *FS) readSuper(ctx context.Context) error {
	b, err := f.read(ctx, 0, sector)
	if err != nil {
		return err
	}
	sb, err := parseSuper(b.data, f.volume.Size())
	if err != nil {
		return err
	}
	if b, err = f.read(ctx, 0, sb.sectorSize); err != nil {
		return err
	}
	if sb.v5 && !f.sumOK(b, superSum) {
		return guest.Corrupt("xfs superblock: its checksum is wrong")
	}
	f.sb = sb
	return nil
}

// recover replays the log, if there is something in it, and notes how that
// went.
func (f *FS) recover(ctx context.Context) error {
	onDisk := f.sb
	done, err := f.replay(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && len(f.overlay.sectors) > 0 {
		if err = f.readSuper(ctx); err != nil {
			err = fmt.Errorf("superblock after replay: %w", err)
		}
	}
	switch {
	case err != nil:
		f.sb, f.overlay = onDisk, overlay{}
		f.state.Health, f.state.Reason = guest.NotReplayed, err.Error()
	case done.dirty:
		f.state.Health, f.state.Replayed, f.state.Reason = guest.Replayed, done.transactions, done.unfinished()
	}
	return nil
}

// checkRoot proves that there is a root, so that garbage with a magic number
// is no filesystem.
func (f *FS) checkRoot(ctx context.Context) error {
	in, err := f.inode(ctx, f.Root())
	if errors.Is(err, guest.ErrNotExist) || err == nil && !in.is(modeDir) {
		return guest.Corrupt("xfs: the root, inode %d, is no directory", f.sb.root)
	}
	return err
}

// describe fills in the state.
func (f *FS) describe(ctx context.Context) {
	u := f.sb.uuid
	f.state.Type, f.state.Label = "xfs", f.sb.label
	f.state.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	f.state.Size = int64(f.sb.blocks) << f.sb.blockLog
	f.state.Used, f.state.Block = -1, 1<<f.sb.blockLog
	if free, ok := f.countFree(ctx); ok && free <= f.sb.blocks {
		f.state.Used = int64(f.sb.blocks-free) << f.sb.blockLog
	}
	var notes []string
	if f.state.Reason != "" {
		notes = append(notes, f.state.Reason)
	}
	if f.sb.realtimeBlocks > 0 {
		notes = append(notes, "files on its real-time device can't be read")
	}
	if f.sb.incompat&incompatNeedsRepair != 0 {
		notes = append(notes, "it needs xfs_repair")
	}
	f.state.Reason = strings.Join(notes, "; ")
}

// countFree counts free blocks. The superblock's count is kept only when the
// filesystem is unmounted; else, up to some number of AGs, theirs are summed.
func (f *FS) countFree(ctx context.Context) (blocks uint64, ok bool) {
	const countGroups = 1024
	if f.state.Health == guest.Clean {
		return f.sb.freeBlocks, true
	}
	if f.sb.groups > countGroups {
		return 0, false
	}
	for number := range f.sb.groups {
		g, err := f.freeGroup(ctx, number)
		if err != nil {
			return 0, false
		}
		blocks += g.free
	}
	return blocks, true
}

// State implements guest.Filesystem.
func (f *FS) State() guest.State { return f.state }

// Root implements guest.Filesystem.
func (f *FS) Root() guest.Node { return guest.Node(f.sb.root) }

// Stat implements guest.Filesystem. A node is an inode number.
func (f *FS) Stat(ctx context.Context, n guest.Node) (guest.Attr, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return guest.Attr{}, err
	}
	kind, ok := types[in.mode&modeType]
	if !ok {
		return guest.Attr{}, guest.Corrupt("xfs inode %d: mode %#o", in.number, in.mode)
	}
	attr := guest.Attr{
		Node: n, Type: kind, Perm: in.mode & 0o7777, UID: in.uid, GID: in.gid, Links: in.links,
		Size: in.size, Allocated: int64(in.blocks << f.sb.blockLog), Generation: uint64(in.generation),
		Atime: in.atime, Mtime: in.mtime, Ctime: in.ctime, Btime: in.btime,
	}
	if kind == guest.CharDevice || kind == guest.BlockDevice {
		attr.Rdev, err = in.device()
	}
	return attr, err
}
