package disk

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"

	"holdfast/chunkstore/pack"
)

const (
	nodeMagic     = "HFDM"
	nodeHeaderLen = 16
	leafLen       = 32 + 8
	childLen      = 32 + 3*4
)

// node is a decoded node of a disk map. It never changes.
type node struct {
	level   int
	ids     []pack.ID
	bitmaps []uint64 // of a leaf's regions
	// sums[u][i] counts the allocated units u before entry i; the last
	// one counts all of the node. A leaf's entries share one span, so its
	// sums of spans say only whether there is data before i.
	sums [units][]uint32
}

// total counts the allocated units of the whole node.
func (n *node) total() totals {
	last := len(n.ids)
	return totals{n.sums[0][last], n.sums[1][last], n.sums[2][last]}
}

// child counts the allocated units of entry i of an interior node.
func (n *node) child(i int) (t totals) {
	for u := range t {
		t[u] = n.sums[u][i+1] - n.sums[u][i]
	}
	return t
}

// next returns the first entry from i on that is not a hole; len(n.ids) when
// there is none.
func (n *node) next(i int) int {
	if i >= len(n.ids) {
		return len(n.ids)
	}
	grains := n.sums[inGrains]
	return i + sort.Search(len(n.ids)-i, func(d int) bool { return grains[i+d+1] > grains[i] })
}

// newNode makes a node of its entries and sums them up. It takes the slices.
func newNode(level int, ids []pack.ID) *node {
	n := &node{level: level, ids: ids}
	sums := make([]uint32, units*(len(ids)+1))
	for u := range n.sums {
		n.sums[u], sums = sums[:len(ids)+1], sums[len(ids)+1:]
	}
	return n
}

// decodeNode proves b to be the encoding of a node and decodes it. The result
// does not refer to b.
func decodeNode(b []byte) (*node, error) {
	if len(b) < nodeHeaderLen || string(b[:4]) != nodeMagic {
		return nil, fmt.Errorf("not a disk map node (%d bytes)", len(b))
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != formatVersion {
		return nil, fmt.Errorf("disk map of version %d: this program knows version %d", v, formatVersion)
	}
	level, count := int(b[6]), int(binary.LittleEndian.Uint16(b[8:]))
	if level > maxLevel || b[7] != 0 || [6]byte(b[10:]) != [6]byte{} {
		return nil, fmt.Errorf("disk map node: bad header % x", b[:nodeHeaderLen])
	}
	entry := childLen
	if level == 0 {
		entry = leafLen
	}
	if count < 1 || count > maxEntries(level) || len(b) != nodeHeaderLen+count*entry {
		return nil, fmt.Errorf("disk map node of level %d: %d bytes do not hold %d entries", level, len(b), count)
	}
	ids := make([]pack.ID, count)
	for i := range ids {
		ids[i] = pack.ID(b[nodeHeaderLen+32*i:])
	}
	if ids[count-1].IsZero() {
		return nil, fmt.Errorf("disk map node of level %d ends with a hole", level)
	}
	n, columns := newNode(level, ids), b[nodeHeaderLen+32*count:]
	if level == 0 {
		return n, n.fillLeaf(columns)
	}
	return n, n.fillInterior(columns)
}

func (n *node) fillLeaf(bitmaps []byte) error {
	n.bitmaps = make([]uint64, len(n.ids))
	var sum totals
	for i, id := range n.ids {
		bm := binary.LittleEndian.Uint64(bitmaps[8*i:])
		if (bm == 0) != id.IsZero() {
			return fmt.Errorf("disk map leaf: region %d has bitmap %x and map %v", i, bm, id)
		}
		n.bitmaps[i] = bm
		sum = sum.plus(regionTotals(bm))
		sum[inSpans] = min(sum[inSpans], 1)
		n.setSum(i+1, sum)
	}
	return nil
}

// regionTotals counts a region with data as one span.
func regionTotals(bitmap uint64) totals {
	if bitmap == 0 {
		return totals{}
	}
	return totals{uint32(bits.OnesCount64(bitmap)), uint32(bits.OnesCount32(blocksOf(bitmap))), 1}
}

func (n *node) fillInterior(columns []byte) error {
	var sum totals
	for i, id := range n.ids {
		var t totals
		for u := range t {
			t[u] = binary.LittleEndian.Uint32(columns[4*(u*len(n.ids)+i):])
		}
		if err := checkChild(n.level, id, t); err != nil {
			return fmt.Errorf("disk map node of level %d: entry %d: %w", n.level, i, err)
		}
		sum = sum.plus(t)
		n.setSum(i+1, sum)
	}
	return nil
}

// checkChild checks the counts of an entry of a node at level, 1 or 2. It
// bounds the sums too: 128 entries of level 2 have at most 2^30 grains.
func checkChild(level int, id pack.ID, t totals) error {
	most := uint32(entrySpan(level) / SpanSize)
	bad := t[inSpans] > most ||
		t[inBlocks] < t[inSpans] || uint64(t[inBlocks]) > uint64(t[inSpans])*(SpanSize/BlockSize) ||
		t[inGrains] < t[inBlocks] || uint64(t[inGrains]) > uint64(t[inBlocks])*(BlockSize/GrainSize)
	if bad || (t[inSpans] == 0) != id.IsZero() {
		return fmt.Errorf("child %v with %d grains, %d blocks and %d spans", id, t[inGrains], t[inBlocks], t[inSpans])
	}
	return nil
}

func (n *node) setSum(i int, t totals) {
	for u := range t {
		n.sums[u][i] = t[u]
	}
}
