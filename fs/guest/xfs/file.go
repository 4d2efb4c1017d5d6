package xfs

import (
	"context"
	"fmt"
	"io"

	"holdfast/fs/guest"
)

// A link's target that does not fit the inode lies in blocks (Symbolic Links);
// in version 5 each run of them begins with magic 4, offset 4, bytes 4,
// checksum 4, uuid 16, owner 8, place 8, LSN 8.
const (
	linkMagic  = 0x58534c4d
	remoteHead = 56
	maxTarget  = 1024
)

// typed reads the inode of a file of some type.
func (f *FS) typed(ctx context.Context, n guest.Node, mode uint16) (*inode, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return nil, err
	}
	if !in.is(mode) {
		return nil, fmt.Errorf("xfs inode %d is of another type (mode %#o): %w", in.number, in.mode, guest.ErrNotExist)
	}
	return in, nil
}

// regular reads the inode of a file whose content can be read.
func (f *FS) regular(ctx context.Context, n guest.Node) (*inode, error) {
	in, err := f.typed(ctx, n, modeFile)
	if err == nil && in.realtime {
		err = fmt.Errorf("xfs inode %d: content on a real-time device is %w", in.number, guest.ErrUnsupported)
	}
	return in, err
}

// ReadAt implements guest.Filesystem.
func (f *FS) ReadAt(ctx context.Context, n guest.Node, p []byte, off int64) (int, error) {
	in, err := f.regular(ctx, n)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, fmt.Errorf("xfs inode %d: read at %d", in.number, off)
	case off >= in.size:
		return 0, io.EOF
	}
	var end error
	if rest := in.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	done, err := f.readRuns(ctx, in, p, off)
	if err != nil {
		return done, fmt.Errorf("xfs inode %d at %d: %w", in.number, off+int64(done), err)
	}
	return done, end
}

// readRuns fills p, which ends within the file.
func (f *FS) readRuns(ctx context.Context, in *inode, p []byte, off int64) (done int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	first, last := uint64(off)>>f.sb.blockLog, uint64(off+int64(len(p))-1)>>f.sb.blockLog
	var failed error
	err = f.eachRun(ctx, in, &in.data, first, last+1, func(r run) bool {
		within := off + int64(done) - int64(r.start<<f.sb.blockLog)
		piece := p[done:min(int64(len(p)), int64(done)+int64(r.count<<f.sb.blockLog)-within)]
		if failed = f.readRun(ctx, r, piece, within); failed != nil {
			return false
		}
		done += len(piece)
		return true
	})
	if failed != nil {
		return done, failed
	}
	return done, err
}

// readRun reads from a place within a run, in bytes.
func (f *FS) readRun(ctx context.Context, r run, p []byte, within int64) error {
	if r.hole {
		clear(p)
		return nil
	}
	place, err := f.sb.place(r.block, r.count)
	if err != nil {
		return err
	}
	return f.readBytes(ctx, p, place+within)
}

// Extents implements guest.Filesystem. The last run ends at the file's size.
func (f *FS) Extents(ctx context.Context, n guest.Node, from int64, fn func(guest.Extent) bool) error {
	in, err := f.regular(ctx, n)
	if err != nil {
		return err
	}
	return f.eachExtent(ctx, in, max(from, 0), fn)
}

// eachExtent turns runs into extents of bytes that end at the file's size.
func (f *FS) eachExtent(ctx context.Context, in *inode, from int64, fn func(guest.Extent) bool) error {
	if from >= in.size {
		return nil
	}
	var failed error
	end := uint64(in.size-1)>>f.sb.blockLog + 1
	err := f.eachRun(ctx, in, &in.data, uint64(from)>>f.sb.blockLog, end, func(r run) bool {
		e := guest.Extent{Offset: int64(r.start << f.sb.blockLog), Place: -1, Hole: r.hole}
		// A file of 2^63 - 1 bytes ends within its last block.
		e.Length = int64(min(r.count<<f.sb.blockLog, uint64(in.size-e.Offset)))
		if !r.hole {
			if e.Place, failed = f.sb.place(r.block, r.count); failed != nil {
				return false
			}
		}
		return fn(e)
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
	if in.size > maxTarget || in.size == 0 {
		return "", guest.Corrupt("xfs inode %d: a link's target of %d bytes", in.number, in.size)
	}
	if in.data.format == formatLocal {
		if in.size > int64(len(in.data.bytes)) {
			return "", guest.Corrupt("xfs inode %d: a link's target of %d bytes in a fork of %d", in.number, in.size, len(in.data.bytes))
		}
		return string(in.data.bytes[:in.size]), nil
	}
	var target []byte
	for block := uint64(0); int64(len(target)) < in.size; {
		r, err := f.mapBlock(ctx, in, &in.data, block)
		if err != nil {
			return "", err
		}
		piece, err := f.targetPiece(ctx, in, r, len(target))
		if err != nil {
			return "", err
		}
		target, block = append(target, piece...), r.end()
	}
	return string(target[:in.size]), nil
}

// targetPiece reads what a run holds of a link's target; at least one byte.
func (f *FS) targetPiece(ctx context.Context, in *inode, r run, have int) ([]byte, error) {
	// A target and a header for each block always fit.
	blocks := min(r.count, 1+(maxTarget+2*remoteHead)>>f.sb.blockLog)
	if r.hole {
		return nil, guest.Corrupt("xfs inode %d: a hole in a link's target", in.number)
	}
	if f.sb.v5 { // the checksum is that of all blocks of the buffer
		blocks = min(blocks, (uint64(in.size)-uint64(have)+remoteHead+uint64(f.sb.blockSize)-1)>>f.sb.blockLog)
	}
	b, off, err := f.block(ctx, r.block, blocks)
	if err != nil || !f.sb.v5 {
		return b.data, err
	}
	bytes := int64(be.Uint32(b.data[8:]))
	if be.Uint32(b.data) != linkMagic || int(be.Uint32(b.data[4:])) != have || be.Uint64(b.data[32:]) != in.number ||
		bytes == 0 || bytes > int64(len(b.data)-remoteHead) {
		return nil, guest.Corrupt("xfs inode %d: the block at byte %d does not hold its target", in.number, off)
	}
	return b.data[remoteHead:][:bytes], f.verify(b, sealRemote, off)
}
