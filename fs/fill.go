package fs

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/disk"
	"holdfast/fs/image"
)

// A guest that boots from an image reads pieces of it all over, and at its next boot
// those and some others: files that a race had it open this time, pages beside them.
// Measured: 487 READs of 82 MB at the first boot, 20 of 1.5 MB at the second, which
// a larger read-ahead of the kernel does not spare (8 MiB: 151 and 0.6 MB; 32 MiB: 238
// and 11). So after reads like these, when nobody reads any
// more, the rest of the image goes into the page cache.
//
// That costs about two CPU seconds a GiB, the disk's time to read the packs, and room in
// the page cache, which the kernel takes back as it needs it. So it is done only where a
// part of the image had been asked for, never more than fits well, at half of the pace
// of one core at the most, and it rests for as long as anybody reads.
const (
	fillReads = 64                    // reads of an image that belong to no stream, and
	fillPart  = 32                    // one part in so many of what it takes, before it is filled
	fillQuiet = 2 * time.Second       // for which nobody has read
	fillPiece = 4 * grain             // put into the page cache at once; readers are looked for between two
	fillWork  = 10 * time.Millisecond // of work between two rests, which are as long
	fillLook  = 16 << 20              // bytes between two looks at what memory is available
	fillRoom  = 4                     // one part in so many of that is what an image may take
	fillBad   = 16                    // pieces in a row that can't be read, before it is given up
	fillCache = 2 << 20               // chunks that two pieces share; ours would lose others for them
	fillQueue = 16
	fillMost  = 4 << 30 // where Options says nothing
)

// filler fills the page cache with images of a tree, one after the other.
type filler struct {
	t       *tree
	most    int64 // bytes that an image may take
	asked   chan *imageNode
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	seen   int64 // requests of readers when it looked last
	since  time.Time
	worked time.Duration // since its last rest

	// What tests put others in place of.
	now   func() time.Time
	sleep func(context.Context, time.Duration)
	room  func() int64 // memory that is available, in bytes
	store func(n *imageNode, off int64, data []byte) syscall.Errno
}

func newFiller(t *tree, most int64) *filler {
	if most == 0 {
		most = fillMost
	}
	f := &filler{t: t, most: most, asked: make(chan *imageNode, fillQueue), now: time.Now, sleep: sleep, room: availableMemory}
	f.store = func(n *imageNode, off int64, data []byte) syscall.Errno { return n.WriteCache(off, data) }
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.running.Go(f.run)
	return f
}

// close waits for what is under way.
func (f *filler) close() {
	f.stop()
	f.running.Wait()
}

func (f *filler) run() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case n := <-f.asked:
			f.fill(n)
		}
	}
}

// fill puts all of an image that is data into the page cache, in its order.
func (f *filler) fill(n *imageNode) {
	defer func() {
		if what := recover(); what != nil {
			f.t.panicked(what)
		}
		n.spread.again()
	}()
	chunks, d, err := f.open(n)
	if err != nil {
		return
	}
	defer chunks.Close()
	buf := make([]byte, fillPiece)
	began, filled, bad := f.now(), int64(0), 0
	for off, looked := int64(0), int64(-fillLook); bad < fillBad && f.quiet(); {
		if filled-looked >= fillLook {
			if looked = filled; n.takes() > f.room()/fillRoom {
				break
			}
		}
		from, to, err := n.nextPiece(f.ctx, d, off)
		if err != nil || from == to {
			break
		}
		off = to
		switch f.piece(n, d, buf[:to-from], from) {
		case pieceFilled:
			filled, bad = filled+to-from, 0
		case pieceBad:
			bad++
		case pieceUnwanted:
			bad = fillBad
		}
	}
	f.t.log.Debug("filled the page cache", "vm", n.v.VM, "version", n.v.ID, "disk", n.disk, "format", n.format,
		"bytes", filled, "of", n.takes(), "took", f.now().Sub(began))
}

// open returns a reader of the image's disk that has a small cache of its own, to be
// closed, and reads packs in their order where the store can.
func (f *filler) open(n *imageNode) (*cache.Cache, *disk.Reader, error) {
	var get chunkstore.Getter = f.t.store
	if s, ok := f.t.store.(inOrder); ok {
		if rows := s.InOrder(nil); rows != nil {
			get = rows.Row()
		}
	}
	// One worker: a row is for one caller at a time.
	chunks, err := cache.New(get, cache.Options{Bytes: fillCache, Workers: 1})
	if err != nil {
		return nil, nil, err
	}
	d, err := disk.Open(chunks, f.t.maps, n.data.Map())
	if err != nil {
		chunks.Close()
	}
	return chunks, d, err
}

// inOrder is a store that reads faster what is wanted in the order of its packs.
type inOrder interface {
	// InOrder returns rows that read ahead into mem, which may be nil, or nil.
	InOrder(mem []byte) chunkstore.Rows
}

// quiet waits until nobody has read for a while. It reports false where the mount ends.
func (f *filler) quiet() bool {
	for f.ctx.Err() == nil && !f.t.closing.Load() {
		now := f.now()
		if n := f.t.count.readers(); n != f.seen {
			f.seen, f.since = n, now
		}
		left := fillQuiet - now.Sub(f.since)
		if left <= 0 {
			return true
		}
		f.sleep(f.ctx, left)
	}
	return false
}

// nextPiece finds the first grain of the image from off on, a multiple of a grain, that
// has data in it, and those behind it; from is to where there are none. A grain is what
// qcow2 allocates: the holes in it are read by who reads ahead, while those around it
// are in no qcow2 file, and may be most of a raw one.
func (im *imageNode) nextPiece(ctx context.Context, d *disk.Reader, off int64) (from, to int64, err error) {
	at, err := image.SeekData(ctx, im.img, d, off)
	if errors.Is(err, io.EOF) {
		return off, off, nil
	}
	if err != nil {
		return 0, 0, err
	}
	from = at / grain * grain
	for to = from + grain; to < from+fillPiece; to += grain {
		if at, err := image.SeekData(ctx, im.img, d, to); err != nil || at >= to+grain {
			break
		}
	}
	return from, min(to, im.img.Size()), nil
}

// What came of a piece.
const (
	pieceFilled   = iota
	pieceBad      // it can't be read; who reads it will be told why
	pieceUnwanted // the kernel has forgotten the file, or takes nothing
)

// piece fills one piece, then rests for as long as it worked.
func (f *filler) piece(n *imageNode, d *disk.Reader, buf []byte, off int64) int {
	began := f.now()
	defer func() {
		if f.worked += f.now().Sub(began); f.worked >= fillWork {
			f.sleep(f.ctx, f.worked)
			f.worked = 0
		}
	}()
	if _, err := image.ReadAt(f.ctx, n.img, d, buf, off); err != nil {
		return pieceBad
	}
	if f.store(n, off, buf) != 0 {
		return pieceUnwanted
	}
	f.t.count.filled.Add(int64(len(buf)))
	return pieceFilled
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
