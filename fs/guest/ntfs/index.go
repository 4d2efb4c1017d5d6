package ntfs

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// An index is a B-tree: its root lies in $INDEX_ROOT (type 4, collation 4,
// bytes of a block 4, clusters of a block 1, then at 16 a head), its blocks in
// $INDEX_ALLOCATION ("INDX", update sequence as in records, LSN 8, at 16 its own
// number 8, at 24 a head), and $BITMAP says which blocks are in use. A head is
// the offset of the entries 4, counted from itself, their end 4, allocated 4
// and flags 4. An entry is
//
//	0 file reference 8 (other indexes: offset and length of data 2 + 2)
//	8 length 2  10 length of the key 2  12 flags 2  16 key
//
// and in its last 8 bytes, if it has one, the child with what comes before it.
const (
	rootHead        = 16
	indexHead       = 16
	blockHead       = 24
	entryHead       = 16
	entryChild      = 1
	entryLast       = 2
	minIndexBlock   = 512
	maxIndexBlock   = 64 << 10
	maxIndexDepth   = 32
	indexBlockMagic = "INDX"
)

var nameIndex = wide("$I30")

// index is one index of a file.
type index struct {
	owner     uint64
	root      []byte // entries
	blockSize int64
	childLog  uint    // log2 of the unit in which children are counted
	blocks    *stream // nil when all is in the root
	bitmap    *stream
}

// entry is one entry of an index. Its slices are those of its block.
type entry struct {
	at    int // in the entries
	bytes []byte
	key   []byte
	child int64 // -1 for none
	last  bool  // it has no key
}

// index opens an index by its name.
func (f *FS) index(ctx context.Context, x *file, name string) (*index, error) {
	b, err := f.readAll(ctx, x, attrIndexRoot, name, maxRecord)
	if err != nil {
		return nil, err
	}
	if len(b) < rootHead+indexHead {
		return nil, guest.Corrupt("ntfs record %d: an index root of %d bytes", x.number, len(b))
	}
	ix := &index{owner: x.number, blockSize: int64(le.Uint32(b[8:]))}
	if ix.root, err = entriesOf(b[rootHead:]); err != nil {
		return nil, wrapRecord(x.number, fmt.Errorf("index root: %w", err))
	}
	if ix.blocks, err = f.stream(ctx, x, attrIndexBlocks, name); err != nil || ix.blocks == nil {
		return ix, err
	}
	if ix.bitmap, err = f.stream(ctx, x, attrBitmap, name); err != nil {
		return nil, err
	}
	if !power(ix.blockSize, minIndexBlock, maxIndexBlock) || ix.bitmap == nil || ix.blocks.size > f.g.place(f.g.clusters) {
		return nil, guest.Corrupt("ntfs record %d: index blocks of %d bytes in %d bytes, with bitmap: %v", x.number, ix.blockSize, ix.blocks.size, ix.bitmap != nil)
	}
	ix.childLog = f.g.clusterLog
	if f.g.clusterSize > ix.blockSize {
		ix.childLog = 9
	}
	return ix, nil
}

// entriesOf gives the entries behind a head.
func entriesOf(b []byte) ([]byte, error) {
	from, to := int64(le.Uint32(b)), int64(le.Uint32(b[4:]))
	if from < indexHead || from%8 != 0 || from > to || to > int64(len(b)) {
		return nil, guest.Corrupt("entries from %d to %d of %d", from, to, len(b))
	}
	return b[from:to], nil
}

// eachEntry calls fn for the entries of a node, until fn returns false; the
// last one, which has no key, comes last.
func eachEntry(b []byte, fn func(entry) bool) error {
	for at := 0; ; {
		if len(b)-at < entryHead {
			return guest.Corrupt("the entries of an index have no end")
		}
		length, key, flags := int(le.Uint16(b[at+8:])), int(le.Uint16(b[at+10:])), le.Uint16(b[at+12:])
		e := entry{at: at, child: -1, last: flags&entryLast != 0}
		room := length - entryHead
		if flags&entryChild != 0 {
			room -= 8
		}
		if room < 0 || length%8 != 0 || length > len(b)-at || !e.last && key > room {
			return guest.Corrupt("an entry of %d bytes with a key of %d in an index", length, key)
		}
		e.bytes = b[at : at+length]
		if flags&entryChild != 0 {
			e.child = int64(le.Uint64(e.bytes[length-8:]))
		}
		if !e.last {
			e.key = e.bytes[entryHead : entryHead+key]
		}
		if !fn(e) || e.last {
			return nil
		}
		at += length
	}
}

// block gives the entries of the block that begins at a byte of the index. They
// are shared: nobody may write to them.
func (f *FS) block(ctx context.Context, ix *index, off int64) ([]byte, error) {
	if ix.blocks == nil || off < 0 || off%strideLen != 0 || off > ix.blocks.size-ix.blockSize {
		return nil, guest.Corrupt("ntfs record %d: its index has no block at byte %d", ix.owner, off)
	}
	b, err := f.wholeBlock(ctx, ix, off)
	if err == nil && int64(le.Uint64(b[16:])) != off>>ix.childLog {
		err = guest.Corrupt("it is block %d of an index", le.Uint64(b[16:]))
	}
	if err == nil {
		b, err = entriesOf(b[blockHead:])
	}
	if err != nil {
		return nil, wrapRecord(ix.owner, fmt.Errorf("index block at byte %d: %w", off, err))
	}
	return b, nil
}

// wholeBlock gives a block with its update sequence taken off. These are kept by
// their place in the volume: a look-up needs the same ones again and again.
func (f *FS) wholeBlock(ctx context.Context, ix *index, off int64) ([]byte, error) {
	read := func() ([]byte, error) {
		b := make([]byte, ix.blockSize)
		if err := f.readStream(ctx, ix.blocks, b, off); err != nil {
			return nil, err
		}
		if string(b[:4]) != indexBlockMagic {
			return nil, guest.Corrupt("its magic is %q", b[:4])
		}
		return b, unprotect(b)
	}
	if ix.blocks.resident || off+ix.blockSize > ix.blocks.initialised {
		return read()
	}
	place := int64(-1)
	err := f.eachRun(ctx, ix.blocks, off>>f.g.clusterLog, f.g.clustersOf(off+ix.blockSize), func(r run) bool {
		if within := off - f.g.place(r.start); !r.hole() && f.g.place(r.count)-within >= ix.blockSize {
			place = f.g.place(r.cluster) + within
		}
		return false
	})
	if err != nil || place < 0 { // in pieces: not kept
		return read()
	}
	b, err := f.blocks.Get(ctx, place, read)
	if err == nil && int64(len(b)) != ix.blockSize { // another index, of another size, claims the place
		return read()
	}
	return b, err
}

// search looks an entry up in the tree. compare says whether what is wanted
// comes before (below 0), at, or behind a key. ok is false when there is none.
func (f *FS) search(ctx context.Context, ix *index, compare func(key []byte) int) (found entry, ok bool, err error) {
	node := ix.root
	for range maxIndexDepth {
		child := int64(-1)
		err := eachEntry(node, func(e entry) bool {
			order := -1
			if !e.last {
				order = compare(e.key)
			}
			if order > 0 {
				return true
			}
			if order == 0 && !e.last {
				found, ok = e, true
			}
			child = e.child
			return false
		})
		if err != nil || ok || child < 0 {
			return found, ok, err
		}
		if child > ixLimit>>ix.childLog {
			return found, false, guest.Corrupt("ntfs record %d: its index has no block %d", ix.owner, child)
		}
		if node, err = f.block(ctx, ix, child<<ix.childLog); err != nil {
			return found, false, err
		}
	}
	return found, false, guest.Corrupt("ntfs record %d: its index is more than %d levels deep", ix.owner, maxIndexDepth)
}

const ixLimit = 1 << 50 // bytes of an index
