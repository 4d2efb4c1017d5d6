package btrfs

import (
	"context"

	"holdfast/fs/guest"
)

// A node of a tree (btrfs_header):
//
//	0 checksum 32  32 metadata uuid  48 its place  56 flags  64 chunk tree uuid
//	80 generation  88 owner  96 items 4  100 level 1
//
// then in a leaf items (key 17, offset 4, size 4) whose bytes lie at their
// offset behind the header, else pointers (key 17, place 8, generation 8).
const (
	nodeHead   = 101
	itemLen    = 25
	pointerLen = 33
	levelAt    = 100
)

// pointer leads to a node.
type pointer struct {
	block, generation uint64
	level             uint8
}

// node is a verified node. It is shared: nobody may write to it.
type node struct {
	data  []byte
	count int
	level uint8
}

// key gives the key of item or pointer i.
func (n *node) key(i int) key {
	if n.level > 0 {
		return parseKey(n.data[nodeHead+i*pointerLen:])
	}
	return parseKey(n.data[nodeHead+i*itemLen:])
}

// child gives pointer i.
func (n *node) child(i int) pointer {
	b := n.data[nodeHead+i*pointerLen+keyLen:]
	return pointer{le.Uint64(b), le.Uint64(b[8:]), n.level - 1}
}

// item gives the bytes of item i; verified by checkItems.
func (n *node) item(i int) []byte {
	b := n.data[nodeHead+i*itemLen+keyLen:]
	off, size := int(le.Uint32(b)), int(le.Uint32(b[4:]))
	return n.data[nodeHead+off:][:size:size]
}

// search gives the number of the first key that is not before k.
func (n *node) search(k key) (i int, found bool) {
	low, high := 0, n.count
	for low < high {
		mid := (low + high) / 2
		switch compareKeys(n.key(mid), k) {
		case 0:
			return mid, true
		case -1:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}

// node reads the node that a pointer of a tree leads to.
func (f *FS) node(ctx context.Context, owner uint64, p pointer) (node, error) {
	if p.block%f.sb.sectorSize != 0 {
		return node{}, guest.Corrupt("btrfs tree %d: a node at byte %d", int64(owner), p.block)
	}
	data, err := f.nodes.Get(ctx, int64(p.block), func() ([]byte, error) {
		b := make([]byte, f.sb.nodeSize)
		err := f.readBlocks(ctx, b, p.block, len(b), func(_ int, b []byte) error {
			if err := f.checkNode(b, p.block); err != nil {
				return err
			}
			return f.checkOwner(b, owner, p) // a copy may be an old one
		})
		return b, err
	})
	if err != nil {
		return node{}, err
	}
	// The one that is kept may have been read for another tree.
	return node{data, int(le.Uint32(data[96:])), data[levelAt]}, f.checkOwner(data, owner, p)
}

// checkNode verifies what a node says of itself.
func (f *FS) checkNode(b []byte, block uint64) error {
	switch {
	case !f.lax && !f.sb.sums.fits(b[headSum:], b):
		return guest.Corrupt("btrfs node at %d: its checksum is wrong", block)
	case [16]byte(b[32:]) != f.sb.metadataID:
		return guest.Corrupt("btrfs node at %d: it is another filesystem's", block)
	case le.Uint64(b[48:]) != block:
		return guest.Corrupt("btrfs node at %d: it says that it lies at %d", block, le.Uint64(b[48:]))
	}
	width := uint64(itemLen)
	if b[levelAt] > 0 {
		width = pointerLen
	}
	count := uint64(le.Uint32(b[96:]))
	if b[levelAt] >= maxLevel || nodeHead+count*width > uint64(len(b)) || count == 0 && b[levelAt] > 0 {
		return guest.Corrupt("btrfs node at %d: %d items at level %d", block, count, b[levelAt])
	}
	return checkItems(node{b, int(count), b[levelAt]}, block)
}

// checkItems verifies the order of keys, and the bounds of items.
func checkItems(n node, block uint64) error {
	for i := range n.count {
		if i > 0 && compareKeys(n.key(i-1), n.key(i)) >= 0 {
			return guest.Corrupt("btrfs node at %d: key %d is not behind the one before", block, i)
		}
		if n.level > 0 {
			continue
		}
		b := n.data[nodeHead+i*itemLen+keyLen:]
		off, size := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		if off < uint64(n.count)*itemLen || nodeHead+off+size > uint64(len(n.data)) {
			return guest.Corrupt("btrfs node at %d: item %d has bytes %d to %d", block, i, off, off+size)
		}
	}
	return nil
}

// checkOwner holds a node against the pointer that led to it. Trees of files
// share nodes, so their owner may be any of them.
func (f *FS) checkOwner(b []byte, owner uint64, p pointer) error {
	generation, is := le.Uint64(b[80:]), le.Uint64(b[88:])
	shared := isSubvolume(owner) && (isSubvolume(is) || is == treeRelocation)
	switch {
	case is != owner && !shared:
		return guest.Corrupt("btrfs node at %d: it is of tree %d, not %d", p.block, int64(is), int64(owner))
	case generation != p.generation:
		return guest.Corrupt("btrfs node at %d: generation %d, not %d", p.block, generation, p.generation)
	case b[levelAt] != p.level:
		return guest.Corrupt("btrfs node at %d: level %d, not %d", p.block, b[levelAt], p.level)
	}
	return nil
}
