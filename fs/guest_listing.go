package fs

import (
	"context"
	"strings"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"holdfast/fs/files"
)

// listingBatch is how many entries of a guest's directory are fetched at a time.
const listingBatch = 256

// guestListing is an open directory of a guest. It holds a batch of names and
// never a whole directory. go-fuse calls it for one request at a time.
type guestListing struct {
	n      *guestNode
	batch  []files.Entry
	cookie uint64 // of the last entry of the batch
	done   bool   // nothing comes behind the batch
	next   uint64 // number of the next entry, from 0; "." and ".." are the first
	last   files.Entry
	seen   seen
}

var (
	_ fusefs.FileReaddirenter = (*guestListing)(nil)
	_ fusefs.FileSeekdirer    = (*guestListing)(nil)
	_ fusefs.FileLookuper     = (*guestListing)(nil)
)

// Readdirent implements fusefs.FileReaddirenter. An entry's offset is its place
// in the directory, from 1.
func (l *guestListing) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if l.next < 2 {
		l.next++
		return &fuse.DirEntry{Name: strings.Repeat(".", int(l.next)), Mode: syscall.S_IFDIR, Ino: l.n.StableAttr().Ino, Off: l.next}, 0
	}
	e, ok, errno := l.entry(ctx)
	if errno != 0 || !ok {
		l.seen.end(l.n.t.follow)
		return nil, errno
	}
	l.next++
	l.last = e
	l.seen.add(l.n.g, e)
	mode := guestModes[e.Type]
	return &fuse.DirEntry{Name: e.Name, Mode: mode, Ino: l.n.g.identify(e.Place, mode).Ino, Off: l.next}, 0
}

// Lookup implements fusefs.FileLookuper, for readdirplus: the file was just
// listed, so its name need not be searched for.
func (l *guestListing) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (ch *fusefs.Inode, errno syscall.Errno) {
	if name != l.last.Name {
		return l.n.Lookup(ctx, name, out)
	}
	l.n.t.count.lookups.Add(1)
	errno = l.n.try(ctx, "stat", func(ctx context.Context) (err error) {
		ch, err = l.n.g.enter(ctx, &l.n.Inode, l.last.Place, out)
		return err
	})
	if errno == 0 {
		keep(out, forLong)
		if n, ok := ch.Operations().(*guestNode); ok {
			l.seen.enter(l.last.Place, n, int64(out.Attr.Size))
		}
	}
	return ch, errno
}

// entry returns the next entry of the guest's directory.
func (l *guestListing) entry(ctx context.Context) (files.Entry, bool, syscall.Errno) {
	if len(l.batch) == 0 && !l.done {
		if errno := l.fetch(ctx); errno != 0 {
			return files.Entry{}, false, errno
		}
	}
	if len(l.batch) == 0 {
		return files.Entry{}, false, 0
	}
	e := l.batch[0]
	l.batch = l.batch[1:]
	return e, true, 0
}

func (l *guestListing) fetch(ctx context.Context) syscall.Errno {
	return l.n.try(ctx, "list a directory", func(ctx context.Context) error {
		l.batch, l.done = l.batch[:0], true
		err := l.n.g.space.ReadDir(ctx, l.n.at, l.cookie, func(e files.Entry) bool {
			l.batch = append(l.batch, e)
			if len(l.batch) < listingBatch {
				return true
			}
			l.done = false
			return false
		})
		if err != nil {
			l.batch, l.done = l.batch[:0], false
			return err
		}
		if n := len(l.batch); n > 0 {
			l.cookie = l.batch[n-1].Cookie
		}
		return nil
	})
}

// Seekdir implements fusefs.FileSeekdirer. Going back means going through the
// directory again: it has no place of its own for every offset.
func (l *guestListing) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off < l.next {
		*l = guestListing{n: l.n}
	}
	for l.next < off {
		if e, errno := l.Readdirent(ctx); errno != 0 || e == nil {
			return errno
		}
	}
	return 0
}
