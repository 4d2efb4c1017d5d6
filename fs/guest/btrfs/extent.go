package btrfs

import (
	"context"

	"holdfast/fs/guest"
)

// An extent of a file (btrfs_file_extent_item):
//
//	0 generation  8 length of what is decoded  16 compression 1  17 encryption 1
//	18 other encoding 2  20 type 1
//
// then inline content, else
//
//	21 place  29 length there  37 offset in what is decoded  45 length
const (
	extentHead = 21
	extentLen  = 53

	extentInline   = 0
	extentRegular  = 1
	extentPrealloc = 2

	maxEncoded = 128 << 10 // of a compressed extent, either way
)

// extent is a run of a file.
type extent struct {
	start, end  int64 // in the file
	kind        byte
	compression byte
	decoded     uint64 // length of what is decoded
	inline      []byte // shared
	place       uint64 // in the logical space; 0 for a hole
	placed      uint64 // length there
	offset      uint64 // of start in what is decoded
}

// hole tells whether the run reads as zeros.
func (e *extent) hole() bool {
	return e.kind == extentPrealloc || e.kind == extentRegular && e.place == 0
}

// plain tells whether the run lies somewhere byte for byte.
func (e *extent) plain() bool {
	return e.kind == extentRegular && e.place != 0 && e.compression == 0
}

// parseExtent verifies an extent of a file.
func (f *FS) parseExtent(k key, b []byte) (extent, error) {
	const most = 1<<63 - 1
	sector := f.sb.sectorSize
	bad := func(why string) (extent, error) {
		return extent{}, guest.Corrupt("btrfs inode %d: its extent at %d has %s", k.object, k.offset, why)
	}
	if len(b) < extentHead || k.offset > most || k.offset%sector != 0 {
		return bad("no sense")
	}
	e := extent{start: int64(k.offset), decoded: le.Uint64(b[8:]), compression: b[16], kind: b[20]}
	if b[17] != 0 || b[18] != 0 || b[19] != 0 || int(e.compression) >= len(decoders) {
		return bad("an unknown encoding")
	}
	if e.compression != 0 && e.decoded > maxEncoded {
		return bad("too much in it")
	}
	if e.kind == extentInline {
		e.inline = b[extentHead:]
		if k.offset != 0 || e.decoded > f.sb.nodeSize+sector || e.compression == 0 && e.decoded > uint64(len(e.inline)) {
			return bad("a wrong length")
		}
		e.end = int64((e.decoded + sector - 1) &^ (sector - 1))
		return e, nil
	}
	if len(b) < extentLen || e.kind > extentPrealloc {
		return bad("no sense")
	}
	e.place, e.placed, e.offset = le.Uint64(b[21:]), le.Uint64(b[29:]), le.Uint64(b[37:])
	length := le.Uint64(b[45:])
	switch {
	case length == 0 || length > most-k.offset || (length|e.place|e.placed|e.offset)%sector != 0,
		e.place > 1<<62 || e.placed > 1<<62 || e.decoded > 1<<62 || e.offset > 1<<62:
		return bad("no sense")
	case e.place == 0:
	case e.compression != 0 && (e.placed > maxEncoded || e.offset+length > e.decoded),
		e.compression == 0 && e.offset+length > e.placed:
		return bad("a wrong length")
	}
	e.end = int64(k.offset + length)
	return e, nil
}

// eachExtent calls fn for the runs of a file that reach beyond from and begin
// before its size, holes included, until fn returns false. They are clipped to
// the size.
func (f *FS) eachExtent(ctx context.Context, in *inode, from int64, fn func(extent) bool) error {
	if from >= in.size {
		return nil
	}
	start, err := f.extentBefore(ctx, in.tree, in.number, from)
	if err != nil {
		return err
	}
	var failed error
	at, more := from, true // the end of what was given
	give := func(e extent) {
		if e.end = min(e.end, in.size); e.end > at {
			more = fn(e)
			at = e.end
		}
	}
	last := int64(-1) // the end of the extent before
	err = f.scan(ctx, in.tree, start, func(k key, item []byte) bool {
		if !k.is(in.number, kindExtentData) {
			return false
		}
		var e extent
		if e, failed = f.parseExtent(k, item); failed != nil {
			return false
		}
		if e.start < last {
			failed = guest.Corrupt("btrfs inode %d of subvolume %d: its extents at %d overlap", in.number, in.tree.id, e.start)
			return false
		}
		last = e.end
		if e.start >= in.size {
			return false
		}
		if e.start > at {
			give(extent{start: at, end: e.start, kind: extentRegular})
		}
		if more {
			give(e)
		}
		return more && at < in.size
	})
	if err == nil {
		err = failed
	}
	if err == nil && more && at < in.size {
		give(extent{start: at, end: in.size, kind: extentRegular})
	}
	return err
}

// extentBefore gives the key of the extent in which from may lie.
func (f *FS) extentBefore(ctx context.Context, t *tree, inode uint64, from int64) (key, error) {
	start := key{inode, kindExtentData, uint64(from)}
	if from == 0 {
		return start, nil
	}
	at := start
	err := f.scanBack(ctx, t, start, func(k key, _ []byte) bool {
		if k.is(inode, kindExtentData) {
			at = k
		}
		return false
	})
	return at, err
}
