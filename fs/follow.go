package fs

import (
	"context"
	"errors"
	"io"
	"sync"

	"holdfast/fs/files"
	"holdfast/fs/guest"
)

// What is read ahead of who goes through directories: the first bytes of a file
// go into the page cache, where reading them costs no request any more; what
// follows goes into ours. Measured: tar of 22,000 files waited for two thirds of
// its time for one request after the other, with the cores idle.
const (
	followPush    = 1 << 20   // bytes of a file for the page cache
	followMost    = 4 << 20   // bytes of a file in all
	followUnknown = 128 << 10 // where the size is not known yet
	followFiles   = 4         // read ahead at a time: most wait for the disk
)

// follower reads files ahead along a tree's trail. Nobody waits for it, and what it
// can't read is left to who reads it.
type follower struct {
	t       *tree
	trail   *trail
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

func newFollower(t *tree) *follower {
	w := &follower{t: t, trail: newTrail()}
	w.ctx, w.stop = context.WithCancel(context.Background())
	for range followFiles {
		w.running.Go(w.run)
	}
	return w
}

// close waits for what is under way.
func (w *follower) close() {
	w.stop()
	w.trail.close()
	w.running.Wait()
}

func (w *follower) run() {
	var buf []byte
	for {
		f, ok := w.trail.next()
		if !ok {
			return
		}
		if buf == nil {
			buf = make([]byte, followPush)
		}
		w.read(f, buf)
	}
}

// read brings a file where it is asked for next. Never in a handler: the kernel
// holds pages locked that a push waits for.
func (w *follower) read(f listedFile, buf []byte) {
	defer func() {
		if what := recover(); what != nil {
			w.t.panicked(what)
		}
	}()
	from := int64(0)
	if f.node != nil {
		buf = buf[:min(f.bytes, int64(len(buf)))]
		fs, err := f.g.space.Open(w.ctx, f.at)
		if err != nil {
			return
		}
		// A short read is an error or a size that is not true: neither is pushed.
		n, err := fs.ReadAt(w.ctx, f.at.Node, buf, 0)
		if n < len(buf) || err != nil && !errors.Is(err, io.EOF) {
			return
		}
		if f.node.WriteCache(0, buf) == 0 {
			w.t.count.pushed.Add(int64(len(buf)))
		}
		from = int64(len(buf))
	}
	w.t.count.filesAhead.Add(1)
	f.g.space.Prefetch(w.ctx, f.at, from, f.bytes)
}

// seen gathers the files of a listing for the trail. The zero value works.
type seen struct {
	files []listedFile
	ended bool // the kernel was told that nothing comes any more
}

// add takes an entry, of which the kernel gets no more than the name.
func (s *seen) add(g *guestTree, e files.Entry) {
	if e.Type == guest.Regular && len(s.files) < trailFiles {
		s.files = append(s.files, listedFile{listedKey: listedKey{g, e.Place}, bytes: followUnknown})
	}
}

// enter notes that the kernel gets the inode of a file, too, if it was taken.
func (s *seen) enter(p files.Place, n *guestNode, size int64) {
	if i := len(s.files) - 1; i >= 0 && s.files[i].at == p {
		f := &s.files[i]
		f.listedKey, f.node, f.bytes = listedKey{n.g, n.at}, n, max(0, min(size, followMost))
	}
}

// end hands all over when the kernel asks for more behind the end: then it has
// every inode. Before that a push would find none.
func (s *seen) end(w *follower) {
	if s.ended && w != nil && len(s.files) > 0 {
		w.trail.listed(s.files)
		s.files = nil
	}
	s.ended = true
}
