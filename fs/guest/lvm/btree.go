package lvm

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"
	"sort"
	"sync"

	"holdfast/fs/guest"
	"holdfast/fs/guest/volume/mapped"
)

const (
	nodeSize   = 4096
	nodeHeader = 32
	maxHeight  = 12
	// maxNodes are kept decoded: 4 MiB a pool.
	maxNodes = 1024
)

// tree reads B-trees of a metadata device.
type tree struct {
	on *mapped.Device

	mu    sync.Mutex // guards nodes
	nodes map[uint64]*node
}

// node is a checked one.
type node struct {
	leaf   bool
	keys   []uint64 // rising
	values []byte
	width  int // bytes of a value
}

// found is a value of a leaf.
type found []byte

func (v found) number(at int) uint64 { return binary.LittleEndian.Uint64(v[at:]) }

// span is a run of a thin volume: so many blocks that lie one behind the other
// in the pool, or are not mapped.
type span struct {
	mapped bool
	block  uint64
	time   uint32 // of the oldest block among them, see run
	blocks uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func blockSum(b []byte, xor uint32) uint32 {
	return ^crc32.Checksum(b[4:nodeSize], castagnoli) ^ xor
}

// node reads and checks a node, or takes it from the cache.
func (t *tree) node(at uint64) (*node, error) {
	t.mu.Lock()
	n := t.nodes[at]
	t.mu.Unlock()
	if n != nil {
		return n, nil
	}
	if at == 0 || at > math.MaxInt64/nodeSize {
		return nil, guest.Corrupt("tree node at block %d", at)
	}
	b := make([]byte, nodeSize)
	if _, err := readAt(context.Background(), t.on, b, int64(at)*nodeSize); err != nil {
		return nil, err
	}
	n, err := parseNode(b, at)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.nodes {
		if len(t.nodes) < maxNodes {
			break
		}
		delete(t.nodes, other) // any one: nodes are cheap to read again
	}
	t.nodes[at] = n
	return n, nil
}

// parseNode checks a node that was read from block at.
func parseNode(b []byte, at uint64) (*node, error) {
	le := binary.LittleEndian
	if le.Uint32(b) != blockSum(b, nodeXor) || le.Uint64(b[8:]) != at {
		return nil, guest.Corrupt("tree node at block %d has a wrong checksum or place", at)
	}
	flags, count, room, width := le.Uint32(b[4:]), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	const most = (nodeSize - nodeHeader) / 8
	if flags != 1 && flags != 2 || count > room || room > most || width == 0 || width > 512 || room*(8+width) > nodeSize-nodeHeader {
		return nil, guest.Corrupt("tree node at block %d: %d of %d keys, values of %d bytes", at, count, room, width)
	}
	n := &node{leaf: flags == 2, keys: make([]uint64, count), width: int(width)}
	for i := range n.keys {
		n.keys[i] = le.Uint64(b[nodeHeader+8*i:])
		if i > 0 && n.keys[i] <= n.keys[i-1] {
			return nil, guest.Corrupt("tree node at block %d: keys out of order", at)
		}
	}
	n.values = b[nodeHeader+8*room:][:count*width]
	if !n.leaf && width != 8 {
		return nil, guest.Corrupt("tree node at block %d: links of %d bytes", at, width)
	}
	return n, nil
}

func (n *node) value(i int) found { return found(n.values[i*n.width:][:n.width]) }

// last gives the last entry whose key is at most key, -1 when there is none.
func (n *node) last(key uint64) int {
	return sort.Search(len(n.keys), func(i int) bool { return n.keys[i] > key }) - 1
}

// leafOf goes down to the leaf where key belongs. next is the smallest key
// known to lie in the leaves behind it, or the largest number.
func (t *tree) leafOf(root, key uint64) (n *node, next uint64, err error) {
	next = math.MaxUint64
	for range maxHeight {
		if n, err = t.node(root); err != nil || n.leaf {
			return n, next, err
		}
		i := n.last(key)
		if i+1 < len(n.keys) {
			next = min(next, n.keys[i+1])
		}
		if i < 0 {
			// Before all keys of the tree: an empty leaf stands for it.
			return &node{leaf: true}, next, nil
		}
		root = n.value(i).number(0)
	}
	return nil, 0, guest.Corrupt("tree of more than %d levels", maxHeight)
}

// find looks a key up whose values have width bytes. next is the next key in
// the tree when there is no such key.
func (t *tree) find(root, key uint64, width int) (v found, next uint64, ok bool, err error) {
	n, next, err := t.leafOf(root, key)
	if err != nil {
		return nil, 0, false, err
	}
	if len(n.keys) > 0 && n.width != width {
		return nil, 0, false, guest.Corrupt("tree values of %d bytes instead of %d", n.width, width)
	}
	i := n.last(key)
	if i >= 0 && n.keys[i] == key {
		return n.value(i), key, true, nil
	}
	if i+1 < len(n.keys) {
		next = n.keys[i+1]
	}
	return nil, next, false, nil
}

// run describes the blocks from key on, at most limit of them, in one leaf. All
// of a run's blocks have the same time, so that none is shared unawares.
func (t *tree) run(root, key, limit uint64) (span, error) {
	_, next, ok, err := t.find(root, key, 8)
	if err != nil {
		return span{}, err
	}
	if !ok {
		return span{blocks: min(limit, next-key)}, nil
	}
	n, _, err := t.leafOf(root, key)
	if err != nil {
		return span{}, err
	}
	i := n.last(key)
	v := n.value(i).number(0)
	r := span{mapped: true, block: v >> 24, time: uint32(v & (1<<24 - 1)), blocks: 1}
	for r.blocks < limit && i+int(r.blocks) < len(n.keys) {
		j := i + int(r.blocks)
		if n.keys[j] != key+r.blocks || n.value(j).number(0) != v+r.blocks<<24 {
			break
		}
		r.blocks++
	}
	return r, nil
}
