package ext4

import (
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
	"holdfast/fs/guest/blockcache"
)

// FS is an open filesystem. All methods are safe for concurrent use.
type FS struct {
	volume  guest.Volume
	sb      superblock
	cache   *blockcache.Cache // of pages after replay
	overlay overlay           // immutable after Open
	fast    *fastCommits      // nil when there are none; immutable after Open
	state   guest.State
}

var _ guest.Filesystem = (*FS)(nil)

// Open opens the ext2, ext3 or ext4 filesystem of a volume, and replays its
// journal in memory. It reads the superblock, the journal's descriptors and
// some group descriptors. Errors: guest.ErrNotMine, guest.ErrUnsupported with
// the features that can't be read, guest.ErrCorrupt, ctx's, or the volume's
// own. A journal that can't be replayed is no error: see State.
func Open(ctx context.Context, v guest.Volume) (*FS, error) {
	if v.Size() < superOffset+superLen {
		return nil, guest.ErrNotMine
	}
	f := &FS{volume: v, cache: blockcache.New(cacheBytes)}
	if err := f.readSuper(ctx, f.readFull); err != nil {
		return nil, err
	}
	if f.sb.incompat&incompatJournalDev != 0 {
		return nil, fmt.Errorf("an external journal (journal_dev), which holds no files: %w", guest.ErrUnsupported)
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

// readSuper reads the superblock by read, which is given its place.
func (f *FS) readSuper(ctx context.Context, read func(context.Context, []byte, int64) error) error {
	b := make([]byte, superLen)
	if err := read(ctx, b, superOffset); err != nil {
		return err
	}
	sb, err := parseSuper(b, f.volume.Size())
	if err != nil {
		return err
	}
	f.sb = sb
	return nil
}

// recover replays the journal, if there is something in it, and notes how
// that went.
func (f *FS) recover(ctx context.Context) error {
	f.state.Health = guest.Clean
	if f.sb.incompat&incompatRecover == 0 {
		if f.sb.compat&compatHasJournal == 0 && f.sb.state&stateValid == 0 {
			f.state.Reason = "not cleanly unmounted, and without a journal: it may contradict itself; run fsck in the guest"
		}
		return nil
	}
	err := f.replay(ctx)
	f.state.Health = guest.Replayed
	if errors.Is(err, guest.ErrCorrupt) || errors.Is(err, guest.ErrUnsupported) {
		f.state.Health, f.state.Reason = guest.NotReplayed, err.Error()
		return nil
	}
	return err // of the volume or the context: another try may succeed
}

// replay builds the overlay and the fast commits.
func (f *FS) replay(ctx context.Context) error {
	j, err := f.openJournal(ctx)
	if err != nil {
		return err
	}
	if j.start == 0 {
		return nil // the journal is empty
	}
	log, err := j.scan(ctx)
	f.overlay, f.state.Replayed = log.overlay(), log.transactions
	f.cache = blockcache.New(cacheBytes) // what was read so far is not replayed
	if err != nil {
		return err
	}
	if len(f.overlay) > 0 {
		if err := f.readSuper(ctx, f.readBytes); err != nil {
			return fmt.Errorf("superblock after replay: %w", err)
		}
	}
	fast, err := j.fastCommits(ctx, log.nextSequence)
	if err != nil {
		return fmt.Errorf("fast commits: %w", err)
	}
	if fast != nil {
		f.fast = fast
		f.state.Replayed += fast.commits
	}
	return nil
}

// checkRoot proves that there is a root, so that garbage with a magic number
// is no filesystem.
func (f *FS) checkRoot(ctx context.Context) error {
	in, err := f.inode(ctx, rootInode)
	if errors.Is(err, guest.ErrNotExist) || err == nil && !in.is(modeDir) {
		return guest.Corrupt("ext4: the root, inode %d, is no directory", rootInode)
	}
	return err
}

// describe fills in the state. Up to some number of groups it counts what is
// free in their descriptors: the superblock's count is kept only when the
// filesystem is unmounted.
func (f *FS) describe(ctx context.Context) {
	const countGroups = 4096
	free := f.sb.freeBlocks
	if f.state.Health != guest.Clean && f.sb.groups <= countGroups {
		free = 0
		for g := range f.sb.groups {
			if desc, err := f.group(ctx, g); err == nil {
				free += uint64(desc.freeClusters) << f.sb.clusterBits
			}
		}
	}
	f.state.Type = f.sb.kind()
	f.state.Label = f.sb.label
	u := f.sb.uuid
	f.state.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	f.state.Size = int64(f.sb.blocks) * int64(f.sb.blockSize)
	f.state.Used, f.state.Block = -1, int64(f.sb.blockSize)
	if free <= f.sb.blocks {
		f.state.Used = f.state.Size - int64(free)*int64(f.sb.blockSize)
	}
}

// State implements guest.Filesystem.
func (f *FS) State() guest.State { return f.state }

// Root implements guest.Filesystem.
func (f *FS) Root() guest.Node { return rootInode }

// Stat implements guest.Filesystem. A node is an inode number.
func (f *FS) Stat(ctx context.Context, n guest.Node) (guest.Attr, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return guest.Attr{}, err
	}
	kind, ok := types[in.mode&modeType]
	if !ok {
		return guest.Attr{}, guest.Corrupt("ext4 inode %d: mode %#o", in.number, in.mode)
	}
	attr := guest.Attr{
		Node: n, Type: kind, Perm: in.mode & 0o7777, UID: in.uid, GID: in.gid, Links: uint32(in.links),
		Size: in.size, Allocated: f.allocated(in), Generation: uint64(in.generation),
		Atime: in.atime, Mtime: in.mtime, Ctime: in.ctime, Btime: in.btime,
	}
	if attr.Allocated < 0 {
		return guest.Attr{}, guest.Corrupt("ext4 inode %d: it occupies %d blocks", in.number, in.blocks)
	}
	if kind == guest.CharDevice || kind == guest.BlockDevice {
		attr.Rdev = in.device()
	}
	return attr, nil
}
