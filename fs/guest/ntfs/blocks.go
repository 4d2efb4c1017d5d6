package ntfs

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"holdfast/fs/guest"
)

const (
	cacheBytes = 8 << 20
	pageBytes  = 64 << 10
	indexBytes = 4 << 20
)

// readFull reads len(p) bytes of the volume, past the cache.
func (f *FS) readFull(ctx context.Context, p []byte, off int64) error {
	return guest.ReadFull(ctx, f.volume, p, off)
}

// readCached reads metadata through the cache.
func (f *FS) readCached(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		page, within := off/pageBytes, off%pageBytes
		piece := p[:min(int64(len(p)), pageBytes-within)]
		data, err := f.cache.Get(ctx, page, func() ([]byte, error) {
			b := make([]byte, min(pageBytes, f.volume.Size()-page*pageBytes))
			return b, f.readFull(ctx, b, page*pageBytes)
		})
		switch {
		case err == nil && within+int64(len(piece)) <= int64(len(data)):
			copy(piece, data[within:])
		case ctx.Err() != nil:
			return ctx.Err()
		default: // the trouble may lie in a neighbour
			if err := f.readFull(ctx, piece, off); err != nil {
				return err
			}
		}
		p, off = p[len(piece):], off+int64(len(piece))
	}
	return nil
}

// readTable fills p from a place in $MFT.
func (f *FS) readTable(ctx context.Context, p []byte, off int64) error {
	i := sort.Search(len(f.table), func(i int) bool { return f.g.place(f.table[i].end()) > off })
	for ; len(p) > 0; i++ {
		if i >= len(f.table) || f.g.place(f.table[i].start) > off {
			return guest.Corrupt("ntfs: $MFT has no cluster for its byte %d", off)
		}
		r := f.table[i]
		within := off - f.g.place(r.start)
		piece := p[:min(int64(len(p)), f.g.place(r.count)-within)]
		if err := f.readCached(ctx, piece, f.g.place(r.cluster)+within); err != nil {
			return err
		}
		p, off = p[len(piece):], off+int64(len(piece))
	}
	return nil
}

// wrapRecord names the record.
func wrapRecord(number uint64, err error) error {
	return fmt.Errorf("ntfs record %d: %w", number, err)
}

// asDamage makes damage of what should have been there.
func asDamage(err error) error {
	if errors.Is(err, guest.ErrNotExist) {
		return guest.Corrupt("it is not in use")
	}
	return err
}
