package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"holdfast/fs/guest"
)

// readable reads the inode of a file or link whose content can be read.
func (f *FS) readable(ctx context.Context, n guest.Node, mode uint16) (*inode, error) {
	in, err := f.inode(ctx, n)
	switch {
	case err != nil:
		return nil, err
	case !in.is(mode):
		return nil, fmt.Errorf("ext4 inode %d is of another type (mode %#o): %w", in.number, in.mode, guest.ErrNotExist)
	case in.encrypted():
		return nil, fmt.Errorf("ext4 inode %d: encrypted content is %w", in.number, guest.ErrUnsupported)
	}
	return in, nil
}

// ReadAt implements guest.Filesystem.
func (f *FS) ReadAt(ctx context.Context, n guest.Node, p []byte, off int64) (int, error) {
	in, err := f.readable(ctx, n, modeFile)
	if err != nil {
		return 0, err
	}
	return f.readContent(ctx, in, p, off)
}

// readContent reads a file's content, wherever it lies.
func (f *FS) readContent(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("ext4 inode %d: read at %d", in.number, off)
	}
	if off >= in.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	var end error
	if int64(len(p)) > in.size-off {
		p, end = p[:in.size-off], io.EOF
	}
	if in.flags&flagInline != 0 {
		content, err := f.inlineContent(ctx, in)
		if err != nil {
			return 0, err
		}
		return copy(p, content[off:]), end
	}
	n, err := f.readRuns(ctx, in, p, off)
	if err != nil {
		return n, err
	}
	return n, end
}

// readRuns fills p, which ends within the file.
func (f *FS) readRuns(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	size := int64(f.sb.blockSize)
	first, last := uint64(off/size), uint64((off+int64(len(p))-1)/size)
	done := 0
	var failed error
	err := f.eachRun(ctx, in, first, last+1, func(r run) bool {
		within := (off + int64(done)) - int64(r.start)*size
		piece := p[done:min(int64(len(p)), int64(done)+int64(r.count)*size-within)]
		if r.hole {
			clear(piece)
		} else {
			failed = f.readBytes(ctx, piece, int64(r.place)*size+within)
		}
		if failed == nil {
			done += len(piece)
		}
		return failed == nil
	})
	if failed != nil {
		err = fmt.Errorf("ext4 inode %d: %w", in.number, failed)
	}
	return done, err
}

// Extents implements guest.Filesystem. The last run ends at the file's size.
func (f *FS) Extents(ctx context.Context, n guest.Node, from int64, fn func(guest.Extent) bool) error {
	in, err := f.inode(ctx, n)
	if err != nil {
		return err
	}
	if !in.is(modeFile) {
		return fmt.Errorf("ext4 inode %d is not a regular file (mode %#o): %w", in.number, in.mode, guest.ErrNotExist)
	}
	if from < 0 {
		from = 0
	}
	if from >= in.size {
		return nil
	}
	if in.flags&flagInline != 0 {
		fn(guest.Extent{Offset: 0, Length: in.size, Place: -1})
		return nil
	}
	return f.eachExtent(ctx, in, from, fn)
}

// eachExtent turns runs into extents of bytes that end at the file's size.
func (f *FS) eachExtent(ctx context.Context, in *inode, from int64, fn func(guest.Extent) bool) error {
	size := int64(f.sb.blockSize)
	blocks := uint64((in.size-1)/size) + 1
	stopped := false
	err := f.eachRun(ctx, in, uint64(from/size), min(blocks, maxLogical), func(r run) bool {
		e := guest.Extent{Offset: int64(r.start) * size, Length: int64(r.count) * size, Place: -1, Hole: r.hole}
		e.Length = min(e.Length, in.size-e.Offset)
		if !r.hole && !in.encrypted() {
			e.Place = int64(r.place) * size
		}
		stopped = !fn(e)
		return !stopped
	})
	if beyond := int64(maxLogical) * size; err == nil && !stopped && in.size > beyond {
		return guest.Corrupt("ext4 inode %d: %d bytes, more than a file can have", in.number, in.size)
	}
	return err
}

// Readlink implements guest.Filesystem. A short target lies in the inode, in
// the place of its block map.
func (f *FS) Readlink(ctx context.Context, n guest.Node) (string, error) {
	in, err := f.readable(ctx, n, modeLink)
	if err != nil {
		return "", err
	}
	if in.size > int64(f.sb.blockSize) {
		return "", guest.Corrupt("ext4 inode %d: a link's target of %d bytes", in.number, in.size)
	}
	target := make([]byte, in.size)
	if f.targetInInode(in) {
		copy(target, in.mapping[:])
	} else if _, err := f.readContent(ctx, in, target, 0); err != nil {
		return "", err
	}
	if end := bytes.IndexByte(target, 0); end >= 0 {
		target = target[:end]
	}
	return string(target), nil
}

// targetInInode says that a link owns no blocks but those of its xattrs.
func (f *FS) targetInInode(in *inode) bool {
	if in.flags&(flagInline|flagExtents) != 0 || in.size >= inodeMapLen {
		return false
	}
	xattrs := uint64(0)
	if in.acl != 0 {
		xattrs = uint64(f.sb.blockSize) << f.sb.clusterBits / 512
	}
	return in.changes != nil || in.blocks <= xattrs
}
