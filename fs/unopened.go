package fs

import (
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// unopened lets the kernel read directories without opening and releasing them, which
// were two of the four requests that listing a small directory took. It refuses
// the first OPENDIR as "no such request"; the kernel (5.1 and later) sends no other, and
// keeps every listing that it is told the end of. Of a directory that changes it is not told
// (endForNow).
//
// go-fuse wants an open directory: one is opened here when the kernel reads from the
// beginning, and kept at the place where the kernel will go on. It is kept at the end,
// too, while there is room: who reads there again finds nothing, whatever came meanwhile.
type unopened struct {
	fuse.RawFileSystem
	server *fuse.Server

	mu      sync.Mutex     // guards what follows
	kept    []reading      // at most maxKept, the one that was read last at the end, those that ended first
	opened  uint64         // so far
	leaving map[uint64]int // by node: directories that are being released
	left    sync.Cond      // of mu: fewer are
}

// reading is an open directory that nobody reads at the moment.
type reading struct {
	node, fh  uint64
	opened    uint64 // how many were before it
	from, off uint64 // of the last answer: where it began, and where the next one would
	changes   bool   // its names may be others next time
	ended     bool   // the last answer was empty
}

// serves reports whether go-fuse can go on at an offset: behind its last answer, or
// within it, as a reader with a small buffer (musl's has 2 KiB) takes a part of an answer.
func (r *reading) serves(node, off uint64) bool {
	return r.node == node && (r.off == off || r.from < off && off < r.off)
}

// maxKept bounds the open directories, as readers may never go on. Who goes on with
// one that was dropped has it listed anew, and goes on behind the same name: offsets stay
// (changing).
const (
	maxKept    = 64
	dropAtOnce = 16 // that ended: a goroutine for each cost as much as its release
)

func newUnopened(fs fuse.RawFileSystem) *unopened {
	u := &unopened{RawFileSystem: fs, leaving: map[uint64]int{}}
	u.left.L = &u.mu
	return u
}

// Init implements fuse.RawFileSystem.
func (u *unopened) Init(s *fuse.Server) {
	u.server = s
	u.RawFileSystem.Init(s)
}

// OpenDir implements fuse.RawFileSystem.
func (u *unopened) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if u.server.KernelSettings().Flags&fuse.CAP_NO_OPENDIR_SUPPORT != 0 {
		return fuse.ENOSYS
	}
	return u.RawFileSystem.OpenDir(cancel, in, out)
}

// ReadDir implements fuse.RawFileSystem.
func (u *unopened) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return u.read(cancel, in, out, u.RawFileSystem.ReadDir, endForNow)
}

// ReadDirPlus implements fuse.RawFileSystem.
func (u *unopened) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return u.read(cancel, in, out, u.RawFileSystem.ReadDirPlus, endForNowPlus)
}

type readDir func(<-chan struct{}, *fuse.ReadIn, *fuse.DirEntryList) fuse.Status

// read answers a request from an open directory, and keeps that. end is called instead of an
// empty answer where the names may change.
func (u *unopened) read(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, read readDir, end func(*fuse.DirEntryList)) fuse.Status {
	if in.Fh != 0 { // of a kernel that opens
		return read(cancel, in, out)
	}
	r, status := u.take(cancel, in)
	if status != fuse.OK {
		return status
	}
	request := *in
	request.Fh = r.fh
	if status = read(cancel, &request, out); status != fuse.OK {
		u.release(in.NodeId, r.fh)
		return status
	}
	r.ended = out.Offset == in.Offset
	r.from, r.off = in.Offset, out.Offset
	u.keep(r)
	if r.ended && r.changes {
		end(out)
	}
	return fuse.OK
}

// endForNow ends a listing, but so that the kernel does not keep it. An empty answer
// is the end of which all that was read before is kept; one that is shorter than its first entry says
// is the end, too, as the rest of an answer never comes in another. The entry here is the 152 bytes and
// more of READDIRPLUS, whose inode number, generation and validity a READDIR takes for inode number, offset
// and length of the name (fs/fuse/readdir.c: parse_dirfile).
func endForNow(out *fuse.DirEntryList) {
	if e := out.AddDirLookupEntry(fuse.DirEntry{Name: "."}); e != nil {
		e.EntryValid = 1024 // bytes, the longest name that the oldest kernels take
	}
}

// endForNowPlus does the same where the kernel wants 152 bytes and more: it gets 32.
func endForNowPlus(out *fuse.DirEntryList) { out.AddDirEntry(fuse.DirEntry{Name: "."}) }

// take returns an open directory to read from in's offset on: one that is there, or a
// new one, which go-fuse winds forward.
func (u *unopened) take(cancel <-chan struct{}, in *fuse.ReadIn) (reading, fuse.Status) {
	if in.Offset > 0 {
		u.mu.Lock()
		for i, r := range slices.Backward(u.kept) {
			if r.serves(in.NodeId, in.Offset) {
				u.kept = slices.Delete(u.kept, i, i+1)
				u.mu.Unlock()
				return r, fuse.OK
			}
		}
		u.mu.Unlock()
	}
	var out fuse.OpenOut
	status := u.RawFileSystem.OpenDir(cancel, &fuse.OpenIn{InHeader: in.InHeader}, &out)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.opened++
	return reading{node: in.NodeId, fh: out.Fh, opened: u.opened, changes: out.OpenFlags&fuse.FOPEN_CACHE_DIR == 0}, status
}

// keep keeps an open directory for who goes on with it, which hardly anybody does at the end.
// Nobody knows for whom it was, so of one that changes only the last that was opened is
// kept: who began after a name came must not go on in what was listed before.
func (u *unopened) keep(r reading) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i := slices.IndexFunc(u.kept, func(k reading) bool { return k.node == r.node && k.changes }); i >= 0 {
		if u.kept[i].opened > r.opened {
			u.drop(r)
			return
		}
		u.drop(u.kept[i])
		u.kept = slices.Delete(u.kept, i, i+1)
	}
	if len(u.kept) == maxKept {
		n := 1
		for n < dropAtOnce && u.kept[n].ended {
			n++
		}
		u.drop(slices.Clone(u.kept[:n])...)
		u.kept = slices.Delete(u.kept, 0, n)
	}
	if r.ended {
		u.kept = slices.Insert(u.kept, 0, r)
	} else {
		u.kept = append(u.kept, r)
	}
}

// drop releases directories that are not kept any more, beside all else: that waits for
// what is asked about their nodes meanwhile, such as attributes of a guest's directory that is
// damaged and healed. Those that go together wait for one another, and so do Forgets of their
// nodes, for which nobody waits. mu is held.
func (u *unopened) drop(dirs ...reading) {
	for _, r := range dirs {
		u.leaving[r.node]++
	}
	go func() {
		for _, r := range dirs {
			u.release(r.node, r.fh)
			u.gone(r.node)
		}
	}()
}

// gone notes that a directory of a node is released.
func (u *unopened) gone(node uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.leaving[node]--; u.leaving[node] == 0 {
		delete(u.leaving, node)
	}
	u.left.Broadcast()
}

// Forget implements fuse.RawFileSystem: what is open of a node goes before it.
func (u *unopened) Forget(node, lookups uint64) {
	u.mu.Lock()
	u.kept = slices.DeleteFunc(u.kept, func(r reading) bool {
		if r.node == node {
			u.drop(r)
		}
		return r.node == node
	})
	for u.leaving[node] > 0 {
		u.left.Wait()
	}
	u.mu.Unlock()
	u.RawFileSystem.Forget(node, lookups)
}

// release closes an open directory, of which the kernel must know the node: it waits for
// an answer, or a Forget of the node waits for this.
func (u *unopened) release(node, fh uint64) {
	u.RawFileSystem.ReleaseDir(&fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: node}, Fh: fh})
}
