package ext4

import (
	"context"
	"errors"

	"holdfast/fs/guest"
)

// The cache holds pages of minPage bytes, or of a block where that is larger.
const (
	cacheBytes = 8 << 20
	minPage    = 32 << 10
)

// readFull reads len(p) bytes of the volume as they are on disk.
func (f *FS) readFull(ctx context.Context, p []byte, off int64) error {
	return guest.ReadFull(ctx, f.volume, p, off)
}

// readBytes reads len(p) bytes of the volume after replay: what the journal
// has a newer copy of comes from there.
func (f *FS) readBytes(ctx context.Context, p []byte, off int64) error {
	size := int64(f.sb.blockSize)
	for len(p) > 0 {
		block := uint64(off / size)
		copied := f.overlay.next(block)
		if copied == nil || copied.home > block {
			n := int64(len(p))
			if copied != nil {
				n = min(n, int64(copied.home)*size-off)
			}
			if err := f.readFull(ctx, p[:n], off); err != nil {
				return err
			}
			p, off = p[n:], off+n
			continue
		}
		data, err := f.readCopy(ctx, copied)
		if err != nil {
			return err
		}
		n := copy(p, data[off%size:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// block gives a metadata block after replay. It is shared: nobody may write
// to it.
func (f *FS) block(ctx context.Context, number uint64) ([]byte, error) {
	if number == 0 || number >= f.sb.blocks {
		return nil, guest.Corrupt("ext4: a structure in block %d of %d", number, f.sb.blocks)
	}
	size, pageSize := int64(f.sb.blockSize), f.pageSize()
	off := int64(number) * size
	p, err := f.cache.Get(ctx, off/pageSize, func() ([]byte, error) { return f.loadPage(ctx, off/pageSize) })
	if err == nil && p[len(p)-1-int(off%pageSize/size)] == 0 {
		return p[off%pageSize:][:size], nil
	}
	// Damaged in the journal, or the page could not be read, in which case the
	// trouble may lie in a neighbour.
	b := make([]byte, size)
	return b, f.readBytes(ctx, b, off)
}

func (f *FS) pageSize() int64 { return max(minPage, int64(f.sb.blockSize)) }

// loadPage reads a page for the cache; the last one of the volume may be
// short. Behind it lies a byte for each block, from the end on: it is not 0 if
// the block is damaged in the journal, while the others can be used.
func (f *FS) loadPage(ctx context.Context, number int64) ([]byte, error) {
	size := int64(f.sb.blockSize)
	start := number * f.pageSize()
	length := min(f.pageSize(), int64(f.sb.blocks)*size-start)
	p := make([]byte, length+length/size)
	err := f.readBytes(ctx, p[:length], start)
	if err == nil || !errors.Is(err, guest.ErrCorrupt) {
		return p, err
	}
	for at := int64(0); at < length; at += size {
		switch err := f.readBytes(ctx, p[at:at+size], start+at); {
		case errors.Is(err, guest.ErrCorrupt):
			p[len(p)-1-int(at/size)] = 1
		case err != nil:
			return nil, err
		}
	}
	return p, nil
}
