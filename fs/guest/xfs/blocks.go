package xfs

import (
	"context"

	"holdfast/fs/guest"
)

const (
	cacheBytes = 8 << 20
	pageBytes  = 64 << 10 // the longest structure
)

// buffer is a structure's bytes after replay. It is shared: nobody may write
// to it.
type buffer struct {
	data    []byte
	fromLog bool // some of it comes from the log, so its checksum is stale
}

// readFull reads len(p) bytes of the volume as they are on disk.
func (f *FS) readFull(ctx context.Context, p []byte, off int64) error {
	return guest.ReadFull(ctx, f.volume, p, off)
}

// readBytes reads len(p) bytes of the volume after replay, past the cache.
func (f *FS) readBytes(ctx context.Context, p []byte, off int64) error {
	if err := f.readFull(ctx, p, off); err != nil {
		return err
	}
	f.overlay.apply(p, off)
	return nil
}

// read gives n bytes of metadata at a place in the volume, in bytes, through
// the cache and after replay.
func (f *FS) read(ctx context.Context, off, n int64) (buffer, error) {
	raw, err := f.readCached(ctx, off, n)
	if err != nil || !f.overlay.touches(off, n) {
		return buffer{data: raw}, err
	}
	merged := append([]byte(nil), raw...)
	f.overlay.apply(merged, off)
	return buffer{data: merged, fromLog: true}, nil
}

// readCached gives n bytes as they are on disk. They may be shared.
func (f *FS) readCached(ctx context.Context, off, n int64) ([]byte, error) {
	page, within := off/pageBytes, off%pageBytes
	if within+n > pageBytes {
		head, err := f.readCached(ctx, off, pageBytes-within)
		if err != nil {
			return nil, err
		}
		tail, err := f.readCached(ctx, (page+1)*pageBytes, n-(pageBytes-within))
		return append(append(make([]byte, 0, n), head...), tail...), err
	}
	data, err := f.cache.Get(ctx, page, func() ([]byte, error) {
		p := make([]byte, min(pageBytes, f.volume.Size()-page*pageBytes))
		return p, f.readFull(ctx, p, page*pageBytes)
	})
	if err == nil && within+n <= int64(len(data)) {
		return data[within:][:n:n], nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// The trouble may lie in a neighbour.
	p := make([]byte, n)
	return p, f.readFull(ctx, p, off)
}

// block gives blocks of metadata by their number, and their place in bytes.
func (f *FS) block(ctx context.Context, number, count uint64) (buffer, int64, error) {
	off, err := f.sb.place(number, count)
	if err != nil {
		return buffer{}, 0, err
	}
	b, err := f.read(ctx, off, int64(count)<<f.sb.blockLog)
	return b, off, err
}
