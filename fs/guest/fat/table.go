package fat

import (
	"context"

	"holdfast/fs/guest"
	"holdfast/fs/guest/fat/chain"
)

const (
	cacheBytes = 4 << 20
	pageBytes  = 64 << 10
)

// read gives n bytes of the volume through the cache. They are shared.
func (f *FS) read(ctx context.Context, off, n int64) ([]byte, error) {
	page, within := off/pageBytes, off%pageBytes
	if within+n > pageBytes {
		head, err := f.read(ctx, off, pageBytes-within)
		if err != nil {
			return nil, err
		}
		tail, err := f.read(ctx, off+int64(len(head)), n-int64(len(head)))
		return append(head[:len(head):len(head)], tail...), err
	}
	b, err := f.cache.Get(ctx, page, func() ([]byte, error) {
		p := make([]byte, min(pageBytes, f.volume.Size()-page*pageBytes))
		return p, guest.ReadFull(ctx, f.volume, p, page*pageBytes)
	})
	if err == nil && within+n <= int64(len(b)) {
		return b[within:][:n:n], nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p := make([]byte, n) // the trouble may lie in a neighbour
	return p, guest.ReadFull(ctx, f.volume, p, off)
}

// Values of an entry in the FAT, of 28 bits.
const (
	isFree = 0
	isBad  = 0x0ffffff7
	isEnd  = 0x0ffffff8 // and above
)

// next gives the entry of a cluster, as if it had 28 bits.
func (f *FS) next(ctx context.Context, cluster uint32) (uint32, error) {
	v, err := f.entryAt(ctx, f.g.tableAt, cluster)
	if err != nil && ctx.Err() == nil && f.g.mirrorAt != 0 {
		v, err = f.entryAt(ctx, f.g.mirrorAt, cluster)
	}
	return v, err
}

func (f *FS) entryAt(ctx context.Context, table int64, cluster uint32) (uint32, error) {
	off := table + int64(cluster)*int64(f.g.bits)/8
	n := int64(f.g.bits+7) / 8
	b, err := f.read(ctx, off, n)
	if err != nil {
		return 0, err
	}
	var v, most uint32
	switch f.g.bits {
	case 12:
		v, most = uint32(le.Uint16(b))>>(cluster%2*4)&0xfff, 0xff7
	case 16:
		v, most = uint32(le.Uint16(b)), 0xfff7
	default:
		return le.Uint32(b) & 0x0fffffff, nil
	}
	if v >= most {
		v += isBad - most
	}
	return v, nil
}

// checkTable takes the mirror for the FAT when the FAT does not begin as it
// must, and the mirror does.
func (f *FS) checkTable(ctx context.Context) error {
	good := func(table int64) (bool, error) {
		b, err := f.read(ctx, table, 4)
		return err == nil && b[0] == f.g.media && b[1] == 0xff, err
	}
	first, err := good(f.g.tableAt)
	if first || ctx.Err() != nil {
		return ctx.Err()
	}
	if f.g.mirrorAt != 0 {
		if second, _ := good(f.g.mirrorAt); second {
			f.g.tableAt, f.g.mirrorAt, f.mirrored = f.g.mirrorAt, 0, true
			f.state.Reason = "the first FAT is damaged, the second one is used"
			return ctx.Err()
		}
	}
	return err // without a good one, the first is as it is
}

// step is next for a walk over a chain.
func (f *FS) step(ctx context.Context, cluster uint32) (uint32, error) {
	v, err := f.next(ctx, cluster)
	if v >= isEnd {
		v = chain.End
	}
	return v, err
}
