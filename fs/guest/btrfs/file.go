package btrfs

import (
	"context"
	"fmt"
	"io"
	"sync"

	"holdfast/fs/guest"
)

// maxTarget is the longest target of a link.
const maxTarget = 4096

// ReadAt implements guest.Filesystem. Content is proved by its checksums.
func (f *FS) ReadAt(ctx context.Context, n guest.Node, p []byte, off int64) (int, error) {
	in, err := f.typed(ctx, n, modeFile)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, fmt.Errorf("btrfs inode %d: read at %d", in.number, off)
	case off >= in.size:
		return 0, io.EOF
	}
	var end error
	if rest := in.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	done, err := f.readFile(ctx, in, p, off)
	if err != nil {
		return done, fmt.Errorf("btrfs inode %d of subvolume %d at %d: %w", in.number, in.tree.id, off+int64(done), err)
	}
	return done, end
}

// readFile fills p, which ends within the file.
func (f *FS) readFile(ctx context.Context, in *inode, p []byte, off int64) (done int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var failed error
	err = f.eachExtent(ctx, in, off, func(e extent) bool {
		within := off + int64(done) - e.start
		piece := p[done:min(int64(len(p)), e.end-off)]
		if failed = f.readExtent(ctx, in, &e, piece, uint64(within)); failed != nil {
			return false
		}
		done += len(piece)
		return done < len(p)
	})
	if failed != nil {
		err = failed
	}
	return done, err
}

// readExtent reads from a place within an extent.
func (f *FS) readExtent(ctx context.Context, in *inode, e *extent, p []byte, within uint64) error {
	switch {
	case e.hole():
		clear(p)
		return nil
	case e.plain():
		return f.readPlain(ctx, in, p, e.place+e.offset+within)
	}
	b, err := f.decoded(ctx, in, e)
	if err != nil {
		return err
	}
	clear(p)
	if at := e.offset + within; at < uint64(len(b)) {
		copy(p, b[at:])
	}
	return nil
}

// decoded gives what an inline or compressed extent decodes to. It is shared.
func (f *FS) decoded(ctx context.Context, in *inode, e *extent) ([]byte, error) {
	if e.kind == extentInline {
		if e.compression == 0 {
			return e.inline[:e.decoded], nil
		}
		return f.decode(e.compression, e.inline, e.decoded)
	}
	load := func() ([]byte, error) {
		b := make([]byte, e.placed)
		if err := f.readChecked(ctx, in, b, e.place); err != nil {
			return nil, err
		}
		return f.decode(e.compression, b, e.decoded)
	}
	b, err := f.extents.Get(ctx, int64(e.place), load)
	if err == nil && uint64(len(b)) != e.decoded { // two items that contradict each other
		return load()
	}
	return b, err
}

// maxRead is what is read, and proved, at once.
const maxRead = 256 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, maxRead); return &b }}

// readPlain reads from the logical space, by whole sectors.
func (f *FS) readPlain(ctx context.Context, in *inode, p []byte, logical uint64) error {
	sector := f.sb.sectorSize
	for len(p) > 0 {
		within := logical % sector
		if within == 0 && uint64(len(p)) >= sector {
			n := min(uint64(len(p)), maxRead) &^ (sector - 1)
			if err := f.readChecked(ctx, in, p[:n], logical); err != nil {
				return err
			}
			p, logical = p[n:], logical+n
			continue
		}
		buf := readBuffers.Get().(*[]byte)
		err := f.readChecked(ctx, in, (*buf)[:sector], logical-within)
		if err == nil {
			n := copy(p, (*buf)[within:sector])
			p, logical = p[n:], logical+uint64(n)
		}
		readBuffers.Put(buf)
		if err != nil {
			return err
		}
	}
	return nil
}

// Extents implements guest.Filesystem. The place of a run is one on the volume
// that was opened; what lies on other devices, and what is compressed, has none.
func (f *FS) Extents(ctx context.Context, n guest.Node, from int64, fn func(guest.Extent) bool) error {
	in, err := f.typed(ctx, n, modeFile)
	if err != nil {
		return err
	}
	return f.eachRun(ctx, in, max(from, 0), fn)
}

// eachRun splits extents where they go on at another place of the volume.
func (f *FS) eachRun(ctx context.Context, in *inode, from int64, fn func(guest.Extent) bool) error {
	var failed error
	err := f.eachExtent(ctx, in, from, func(e extent) bool {
		if !e.plain() {
			return fn(guest.Extent{Offset: e.start, Length: e.end - e.start, Place: -1, Hole: e.hole()})
		}
		for at := e.start; at < e.end; {
			place, n, err := f.place(e.place+e.offset+uint64(at-e.start), uint64(e.end-at))
			if err != nil {
				failed = err
				return false
			}
			r := guest.Extent{Offset: at, Length: int64(n), Place: place}
			at += int64(n)
			if at > from && !fn(r) {
				return false
			}
		}
		return ctx.Err() == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// Readlink implements guest.Filesystem.
func (f *FS) Readlink(ctx context.Context, n guest.Node) (string, error) {
	in, err := f.typed(ctx, n, modeLink)
	if err != nil {
		return "", err
	}
	if in.size == 0 || in.size > maxTarget {
		return "", guest.Corrupt("btrfs inode %d of subvolume %d: a link's target of %d bytes", in.number, in.tree.id, in.size)
	}
	target := make([]byte, in.size)
	if _, err := f.readFile(ctx, in, target, 0); err != nil {
		return "", err
	}
	return string(target), nil
}
