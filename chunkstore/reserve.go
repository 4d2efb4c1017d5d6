package chunkstore

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// ErrFull says that the store's disk has no room left but for what frees some.
var ErrFull = errors.New("the store's disk is full")

// The reserve is a file of nothing that holds space for the day on which the
// disk is full. Then the index could not be opened and no act be written, and so
// nothing could be forgotten: where it matters most. While less than scarce is free
// the file is given back for as long as a session or a prune lasts, or an opening
// of the store, and then made again of what is left. It is also given back when
// the index meets a full disk, which then writes once more: a failed write of its
// log would end the process. What captures bring is refused
// where free space and reserve together are not more than the reserve should be, so
// what is given back goes to who frees.
//
// It has no bytes, only blocks (fallocate(2), FALLOC_FL_KEEP_SIZE), so that a
// copy of the store carries nothing along.
const (
	reserveName  = "reserve"
	reserveLeast = 2 << 20
	reserveMost  = 4 << 30
	reserveShare = 512       // a prune needs 8 bytes a chunk and about 50 a dead one
	scarce       = 24 << 20  // a memtable, its log, and packs of acts
	slack        = 1 << 20   // for the index's log beside a capture
	leave        = 256 << 10 // what stays free beside the reserve, for the same
	tailShare    = 12        // parity and footer of a pack are less than such a part of it
)

// reserve is what a store knows of its reserve.
type reserve struct {
	want atomic.Int64 // bytes that it should have

	mu    sync.Mutex // guards what follows
	has   int64      // bytes that it has
	users int        // who may need it now
}

// freeBytes returns how much may be written to the store's disk; false where the
// medium can't tell.
func freeBytes(fsys vfs.FS, dir string) (int64, bool) {
	u, err := fsys.GetDiskUsage(dir)
	return int64(min(u.AvailBytes, math.MaxInt64)), err == nil
}

func (s *Store) reservePath() string { return s.fs.PathJoin(s.dir, reserveName) }

// findReserve sees what the last owner left. Copied from elsewhere the file may
// be there without its blocks.
func (s *Store) findReserve() {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	f, err := s.fs.Open(s.reservePath())
	if err != nil {
		return
	}
	defer f.Close()
	var st unix.Stat_t
	if fd := f.Fd(); fd != vfs.InvalidFd && unix.Fstat(int(fd), &st) == nil {
		s.spare.has = st.Blocks * 512
	}
}

// takeRoom gives the reserve back where the disk is nearly full, for as long as
// somebody may need it: until as many calls of leaveRoom.
func (s *Store) takeRoom() {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	s.spare.users++
	if free, known := freeBytes(s.fs, s.dir); known && free < scarce {
		s.giveBack()
	}
}

// leaveRoom ends what takeRoom began: the last one makes the reserve again, of
// what is there, before others fill the disk.
func (s *Store) leaveRoom() {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	if s.spare.users--; s.spare.users == 0 {
		s.makeReserve()
	}
}

// lastRoom ends all use of the reserve, at the end of the store.
func (s *Store) lastRoom() {
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	s.spare.users = 0
	s.makeReserve()
}

// giveBack frees the reserve. The caller holds the reserve's mu.
func (s *Store) giveBack() {
	if s.spare.has == 0 {
		return
	}
	if err := s.fs.Remove(s.reservePath()); err != nil {
		s.log.Error("the reserve can't be given back", "err", err)
		return
	}
	// ext4 has the blocks of a removed file for others when its journal is written.
	if err := syncDir(s.fs, s.dir); err != nil {
		s.log.Warn("the reserve may not be free at once", "err", err)
	}
	s.log.Info("the disk is nearly full: the store's reserve is given back", "bytes", s.spare.has)
	s.spare.want.CompareAndSwap(0, s.spare.has) // should the opening fail before it is known
	s.spare.has = 0
}

// measureReserve finds how large the reserve should be.
func (s *Store) measureReserve() error {
	all, err := s.sumPacks()
	s.spare.want.Store(min(reserveLeast+all.bytes/reserveShare, reserveMost))
	return err
}

// KeepReserve makes the reserve as large as the disk's free space lets it be. A
// process that stays up calls it now and then.
func (s *Store) KeepReserve() error {
	if err := s.measureReserve(); err != nil {
		return err
	}
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	if s.spare.users > 0 {
		return nil
	}
	s.makeReserve()
	return nil
}

// makeReserve makes the reserve where there is room. The caller holds the
// reserve's mu.
func (s *Store) makeReserve() {
	free, known := freeBytes(s.fs, s.dir)
	want := s.spare.want.Load()
	size := min(want, s.spare.has+free-leave)
	if !known || s.spare.has >= want-want/4 || size <= s.spare.has || size < leave {
		return
	}
	f, err := s.fs.Create(s.reservePath(), "holdfast-reserve")
	if err == nil {
		s.spare.has = 0
		err = errors.Join(allocate(f, size), f.Close())
	}
	if err != nil {
		s.log.Debug("no reserve for a full disk can be made", "bytes", size, "err", errors.Join(err, s.fs.Remove(s.reservePath())))
		return
	}
	s.spare.has = size
}

// allocate gives an empty file its blocks. Where the filesystem can't do so
// without bytes, it gets some that can't be compressed.
func allocate(f vfs.File, size int64) error {
	err := f.Preallocate(0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	noise, b := rand.NewChaCha8([32]byte{}), make([]byte, 1<<20)
	for ; size > 0; size -= int64(len(b)) {
		b = b[:min(size, int64(len(b)))]
		noise.Read(b)
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return f.Sync()
}

// roomFor refuses what a capture brings where the disk is full but for the
// reserve. tail is what the packs that are being written still need.
func (s *Store) roomFor(tail int64) error {
	free, known := freeBytes(s.fs, s.dir)
	s.spare.mu.Lock()
	has := s.spare.has
	s.spare.mu.Unlock()
	if !known || free+has >= s.spare.want.Load()+slack+tail {
		return nil
	}
	return fmt.Errorf("%w: what is left of it, %d bytes, is kept for forget and prune: %w", ErrFull, free, syscall.ENOSPC)
}

// full makes an error that a full disk, or a quota that is used up, has caused an
// ErrFull.
func full(err error) error {
	if (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) && !errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// indexFS is the index's file system: a write that finds the disk full is tried
// once more with the reserve's room.
func (s *Store) indexFS() vfs.FS {
	return vfs.OnDiskFull(frugal{s.fs}, func() {
		s.spare.mu.Lock()
		defer s.spare.mu.Unlock()
		if s.giveBack(); s.spare.users == 0 {
			s.makeReserve() // but for what the index gets now, before others take all of it
		}
	})
}

// frugal preallocates little for the index's log where little is free, for that
// would take what acts need.
type frugal struct{ vfs.FS }

// Create implements vfs.FS.
func (f frugal) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return frugalFile{file, f.FS, f.PathDir(name)}, nil
}

// ReuseForWrite implements vfs.FS.
func (f frugal) ReuseForWrite(was, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(was, name, c)
	if err != nil {
		return nil, err
	}
	return frugalFile{file, f.FS, f.PathDir(name)}, nil
}

type frugalFile struct {
	vfs.File
	fs  vfs.FS
	dir string
}

// Write implements vfs.File. A quota that is used up is a full disk too.
func (f frugalFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("disk quota exceeded: %w", syscall.ENOSPC)
	}
	return n, err
}

// Preallocate implements vfs.File.
func (f frugalFile) Preallocate(off, n int64) error {
	if free, known := freeBytes(f.fs, f.dir); known && free < 4*scarce+n {
		n = min(n, leave) // so much is its own, whoever fills the disk
	}
	return f.File.Preallocate(off, n)
}
