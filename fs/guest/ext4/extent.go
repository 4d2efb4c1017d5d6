package ext4

import (
	"context"

	"holdfast/fs/guest"
)

// An extent tree (Extent Tree): a node is a header of 12 bytes and entries of
// 12 bytes; the root lies in the inode, each other node fills a block and ends
// with a checksum behind the room for entries.
//
//	header  magic 2, entries 2, room 2, depth 2, generation 4
//	index   first block 4, node low 4, node high 2
//	leaf    first block 4, count 2, place high 2, place low 4
const (
	extentMagic     = 0xf30a
	extentEntry     = 12
	maxExtentDepth  = 5
	unwrittenExtent = 32768 // counts above are of blocks never written
)

// extentNode is a node that has been checked.
type extentNode struct {
	b              []byte
	entries, depth int
}

func (f *FS) parseExtentNode(in *inode, b []byte) (extentNode, error) {
	n := extentNode{b, int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))}
	room := int(le.Uint16(b[4:]))
	if le.Uint16(b) != extentMagic || n.entries > room || extentEntry*(room+1) > len(b) || n.depth > maxExtentDepth {
		return n, guest.Corrupt("ext4 inode %d: a node of its extent tree (magic %#x, %d entries of %d, depth %d)",
			in.number, le.Uint16(b), n.entries, room, n.depth)
	}
	return n, nil
}

// first is the first logical block of an entry.
func (n extentNode) first(i int) uint64 { return uint64(le.Uint32(n.b[extentEntry*(i+1):])) }

// find gives the number of entries that begin at or before a block.
func (n extentNode) find(block uint64) int {
	low, high := 0, n.entries
	for low < high {
		if mid := (low + high) / 2; n.first(mid) <= block {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// child reads the node below an index entry.
func (f *FS) child(ctx context.Context, in *inode, n extentNode, i int) (extentNode, error) {
	e := n.b[extentEntry*(i+1):]
	place := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
	b, err := f.block(ctx, place)
	if err != nil {
		return extentNode{}, err
	}
	next, err := f.parseExtentNode(in, b)
	if err != nil {
		return next, err
	}
	if next.depth != n.depth-1 {
		return next, guest.Corrupt("ext4 inode %d: an extent node of depth %d below one of %d", in.number, next.depth, n.depth)
	}
	if f.sb.metadataCsum() {
		tail := extentEntry * (int(le.Uint16(b[4:])) + 1)
		if tail+4 > len(b) || crc32c(in.seed, b[:tail]) != le.Uint32(b[tail:]) {
			return next, guest.Corrupt("ext4 inode %d: the extent node in block %d has a wrong checksum", in.number, place)
		}
	}
	return next, nil
}

// mapExtent looks a block up in the extent tree.
func (f *FS) mapExtent(ctx context.Context, in *inode, block uint64) (run, error) {
	n, err := f.parseExtentNode(in, in.mapping[:])
	end := uint64(maxLogical) // where the next entry to the right begins
	for err == nil {
		i := n.find(block)
		if i < n.entries {
			end = min(end, max(n.first(i), block+1))
		}
		if i == 0 {
			return run{start: block, count: end - block, hole: true}, nil
		}
		if n.depth == 0 {
			return f.mapLeaf(in, n.b[extentEntry*i:], block, end)
		}
		n, err = f.child(ctx, in, n, i-1)
	}
	return run{}, err
}

// mapLeaf gives the run of a leaf's entry, or the hole between it and end.
func (f *FS) mapLeaf(in *inode, e []byte, block, end uint64) (run, error) {
	first, count := uint64(le.Uint32(e)), uint64(le.Uint16(e[4:]))
	unwritten := count > unwrittenExtent
	if unwritten {
		count -= unwrittenExtent
	}
	if block >= first+count {
		return run{start: block, count: end - block, hole: true}, nil
	}
	place := uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	if err := f.checkPlace(in, place, count); err != nil {
		return run{}, err
	}
	// An entry that overlaps the next one ends where that begins.
	return run{start: first, count: min(count, end-first), place: place, hole: unwritten, unwritten: unwritten}.from(block), nil
}
