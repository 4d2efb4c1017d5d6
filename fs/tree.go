package fs

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/disk"
	"holdfast/fs/files"
)

// How long the kernel may keep a name and its attributes.
const (
	forLong = 24 * time.Hour // what is immutable
	forNow  = time.Second    // what names a VM
	// forMoment is for latest: who captures and then looks sees the new version,
	// while a program that names thousands of files below it need not ask each time.
	forMoment = 50 * time.Millisecond

	fileMode = syscall.S_IFREG | 0o444
	dirMode  = syscall.S_IFDIR | 0o555
	linkMode = syscall.S_IFLNK | 0o777
)

// tree is what all nodes of a mount share.
type tree struct {
	store    chunkstore.API
	chunks   *cache.Cache
	maps     *disk.Maps
	log      *slog.Logger
	push     *pusher   // nil: nothing is pushed
	follow   *follower // nil with it
	filler   *filler   // nil: no image is filled
	ahead    ahead
	identify func(parts ...string) fusefs.StableAttr
	uid, gid uint32
	mounted  time.Time
	closing  atomic.Bool // no new opens
	count    counters
	space    space
	recent   recent
	files    *files.Opener
	owner    *Owner // nil: guests' files keep their owners
}

func newTree(store chunkstore.API, opts Options) (*tree, error) {
	chunks, err := cache.New(store, cache.Options{Bytes: opts.Cache, Workers: loadsAtATime(runtime.NumCPU()), Part: store.Info().FrameSize})
	if err != nil {
		return nil, err
	}
	t := &tree{
		store: store, chunks: chunks, maps: disk.NewMaps(store, 0), log: opts.Log, identify: identify,
		uid: uint32(os.Getuid()), gid: uint32(os.Getgid()), mounted: time.Now(), owner: opts.Owner,
	}
	t.ahead.ctx, t.ahead.stop = context.WithCancel(context.Background())
	t.files = files.New(t.chunks, t.maps)
	if !opts.NoPush {
		t.push, t.follow = newPusher(t), newFollower(t)
	}
	if !opts.NoPush && opts.Fill >= 0 {
		t.filler = newFiller(t, opts.Fill)
	}
	return t, nil
}

// loadsAtATime returns how many chunks are loaded at a time on so many cores. A
// load waits for the disk with its place taken, so there are more places than
// cores; what a load computes waits for a core by itself: zstd inflates no more at a
// time than there are cores, and MinLZ is short enough for the scheduler.
func loadsAtATime(cores int) int { return max(cores, min(2*cores, 16)) }

// close ends what the tree runs. No request may be under way.
func (t *tree) close() {
	t.ahead.stop()
	t.ahead.running.Wait()
	if t.push != nil {
		t.push.close()
		t.follow.close()
	}
	if t.filler != nil {
		t.filler.close()
	}
	t.chunks.Close()
}

// fill sets the attributes of a node. blocks counts 512 bytes.
func (t *tree) fill(a *fuse.Attr, mode uint32, size, blocks uint64, at time.Time) {
	a.Mode, a.Size, a.Blocks, a.Blksize, a.Nlink = mode, size, blocks, 4096, 1
	a.Uid, a.Gid = t.uid, t.gid
	a.SetTimes(&at, &at, &at)
}

// keep tells the kernel for how long it may keep a name and its attributes.
func keep(out *fuse.EntryOut, d time.Duration) {
	out.SetEntryTimeout(d)
	out.SetAttrTimeout(d)
}

// node is what all nodes are made of.
type node struct {
	fusefs.Inode
	readOnly
	t *tree
}

// Statfs implements fusefs.NodeStatfser.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.t.space.fill(ctx, n.t, out)
	return 0
}

// Getxattr implements fusefs.NodeGetxattrer: only guests' files have extended
// attributes. ls -l asks two or three times a name whether there are access
// control lists and labels, and doesn't ask again once it heard that there is no
// such thing; "none here" would not stop it. ENOSYS is no answer: after that the
// kernel would ask for no guest's file either.
func (n *node) Getxattr(context.Context, string, []byte) (uint32, syscall.Errno) {
	return 0, syscall.EOPNOTSUPP
}

// panicked is what a handler that panicked answers.
func (t *tree) panicked(what any) fuse.Status {
	t.count.panics.Add(1)
	t.log.Error("a request panicked; this is a bug in holdfast, please report it", "panic", what, "stack", string(debug.Stack()))
	return fuse.EIO
}

// spaceAge is for how long statfs answers from memory: counting a large store
// takes milliseconds, and df and file managers ask often.
const spaceAge = 10 * time.Second

// space is what statfs tells: the store's size, all of it used.
type space struct {
	mu    sync.Mutex // guards what follows
	asked time.Time
	stats chunkstore.Stats
}

func (s *space) fill(ctx context.Context, t *tree, out *fuse.StatfsOut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) > spaceAge {
		st, err := t.store.Stats(ctx)
		if err != nil {
			t.log.Warn("the store can't tell its size", "err", err)
		} else {
			s.stats, s.asked = st, time.Now()
		}
	}
	const block = 4096
	out.Bsize, out.Frsize, out.NameLen = block, block, maxFileName
	out.Blocks = uint64(s.stats.PackBytes+s.stats.IndexBytes+block-1) / block
	out.Files = uint64(s.stats.Roots)
}
