package blake

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"lukechampine.com/blake3/guts"
)

// NodesOf returns how many nodes [SumNodes] hands out of a message of size bytes: one for
// each run of 1<<log bytes, of which the last may be shorter; none where there is one run,
// as that would be the root.
func NodesOf(size int, log uint8) int {
	if size <= 1<<log {
		return 0
	}
	return (size-1)>>log + 1
}

// Nodes computes what [SumNodes] hands out of a message for some of its runs: nodes[i]
// becomes the chaining value of run first+i, and they all begin at plain[0]. len(nodes) is
// how many runs plain has; only the message's last may be shorter than 1<<log bytes. A
// message of one run has none. log is 10 to 20, and what comes before plain at most 4 TiB.
func (h *Hasher) Nodes(nodes [][sumLen]byte, plain []byte, log uint8, first int) {
	if h.kernel == none {
		h.subtrees(nodes, &Message{plain}, log, first)
		return
	}
	b := batches.Get().(*batch)
	for len(nodes) > 0 {
		n := min(len(nodes), maxChunks<<chunkLog>>log)
		b.begin(h)
		for i := range n {
			size := min(len(plain), 1<<log)
			b.addTree(size, [][]byte{plain[:size]}, uint32((first+i)<<(log-chunkLog)), 0)
			plain = plain[size:]
		}
		b.finish(h)
		for i, t := range b.trees {
			nodes[i] = b.nodes[t.at]
		}
		nodes, first = nodes[n:], first+n
	}
	batches.Put(b)
}

// pieceLen is what guts hashes at once: it always reads as many bytes.
const pieceLen = guts.MaxSIMD * guts.ChunkSize

type piece = [pieceLen]byte

// pieces are for what has no pieceLen bytes in one place.
var pieces = sync.Pool{New: func() any { return new(piece) }}

// subtrees is Nodes of a message in parts, by guts.
func (h *Hasher) subtrees(nodes [][sumLen]byte, m *Message, log uint8, first int) {
	c := cutter{hasher: h, left: m.size(), part: m[0], next: m[1], room: pieces.Get().(*piece)}
	for i := range nodes {
		v := c.subtree(min(c.left, 1<<log), uint64(first+i)<<(log-chunkLog))
		putWords(&nodes[i], &v)
	}
	pieces.Put(c.room)
}

// root joins the nodes of a message, two at least.
func (h *Hasher) root(nodes [][sumLen]byte) (sum [sumLen]byte) {
	v := h.join(nodes, guts.FlagRoot)
	putWords(&sum, &v)
	return sum
}

// join computes the chaining value of nodes beside each other. flag is the last one's.
func (h *Hasher) join(nodes [][sumLen]byte, flag uint32) [8]uint32 {
	if len(nodes) == 1 {
		return wordsOf(&nodes[0])
	}
	n := leftOf(len(nodes))
	return guts.ChainingValue(guts.ParentNode(h.join(nodes[:n], 0), h.join(nodes[n:], 0), &h.key, h.flags|flag))
}

// leftOf returns how many of n leaves, two at least, are on the left of their root: the
// highest power of two that leaves some on the right.
func leftOf(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// cutter takes a message from its start to its end.
type cutter struct {
	hasher     *Hasher
	left       int    // bytes
	part, next []byte // what they are
	room       *piece
}

// subtree takes size bytes, which begin with chunk number counter of the message, and
// returns their chaining value.
func (c *cutter) subtree(size int, counter uint64) [8]uint32 {
	h := c.hasher
	if size <= pieceLen {
		return guts.ChainingValue(guts.CompressBuffer(c.take(size), size, &h.key, counter, h.flags))
	}
	n := leftOf((size + chunkLen - 1) / chunkLen)
	left := c.subtree(n*chunkLen, counter)
	right := c.subtree(size-n*chunkLen, counter+uint64(n))
	return guts.ChainingValue(guts.ParentNode(left, right, &h.key, h.flags))
}

// take returns the next n bytes, at most a piece, with any others behind them.
func (c *cutter) take(n int) *piece {
	c.left -= n
	if len(c.part) >= pieceLen {
		p := (*piece)(c.part)
		c.part = c.part[n:]
		return p
	}
	for done := 0; done < n; {
		if len(c.part) == 0 {
			c.part, c.next = c.next, nil
		}
		took := copy(c.room[done:n], c.part)
		c.part, done = c.part[took:], done+took
	}
	return c.room
}

func wordsOf(b *[sumLen]byte) (words [8]uint32) {
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return words
}

func putWords(b *[sumLen]byte, words *[8]uint32) {
	for i, w := range words {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
}
