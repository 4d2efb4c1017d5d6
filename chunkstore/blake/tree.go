package blake

import "unsafe"

// maxChunks is how many chunks of BLAKE3 one batch has at most: 1 MiB.
const maxChunks = 1024

// batch hashes messages of maxChunks chunks together. It belongs to one call at a time.
type batch struct {
	full  queue // chunks of 1 KiB, later parents
	short queue // chunks that are shorter, which would leave lanes of a pass without work
	trees []tree
	used  int // nodes
	nodes [maxChunks][sumLen]byte
	wants wants // nodes to hand out on the way
}

// tree is a message, or a subtree of one, on its way to its root: n chaining values
// from nodes[at] on.
type tree struct {
	at, n int
	flag  uint32 // of its last node: flagRoot, or 0 for a subtree
}

// wants is where the nodes go that are wanted of the messages' trees: those that
// stand for 1<<log bytes each; with log 0 none are.
type wants struct {
	log uint8
	to  [][sumLen]byte // what is not filled yet
}

// begin empties b, for messages under h's key.
func (b *batch) begin(h *Hasher) {
	b.full.begin(h, h.flags, flagChunkStart)
	b.short.begin(h, h.flags, flagChunkStart)
	b.trees, b.used, b.wants = b.trees[:0], 0, wants{}
}

func chunksOf(size int) int { return max(1, (size+chunkLen-1)/chunkLen) }

// add queues the chunks of a message of size bytes, which parts together are.
// It must have room: b.used + chunksOf(size) <= maxChunks. parts must stay as
// they are until finish.
func (b *batch) add(size int, parts [][]byte) { b.addTree(size, parts, 0, flagRoot) }

// addTree is add for a subtree, too: counter is the number of its first chunk in the
// message, flag that of its last node.
func (b *batch) addTree(size int, parts [][]byte, counter, flag uint32) {
	t := tree{at: b.used, n: chunksOf(size), flag: flag}
	b.trees = append(b.trees, t)
	b.used += t.n
	last := uint32(flagChunkEnd)
	if t.n == 1 {
		last |= flag
	}
	var part []byte // what is left of the one at hand
	for i := range t.n {
		n := min(chunkLen, size-i*chunkLen)
		q := &b.full
		if n < chunkLen {
			q = &b.short
		}
		for len(part) == 0 && len(parts) > 0 {
			part, parts = parts[0], parts[1:]
		}
		var in unsafe.Pointer
		if n == chunkLen && len(part) >= chunkLen {
			in, part = unsafe.Pointer(unsafe.SliceData(part)), part[chunkLen:]
		} else {
			room := &q.room[q.n]
			part, parts = gather(room, n, part, parts)
			in = unsafe.Pointer(room)
		}
		q.add(in, &b.nodes[t.at+i], counter+uint32(i), uint32(n), last)
	}
}

// gather copies n bytes from part, and those behind it, to room, and zeros to
// the end of the block. It returns what is left.
func gather(room *chunk, n int, part []byte, parts [][]byte) ([]byte, [][]byte) {
	done := 0
	for {
		took := copy(room[done:n], part)
		part, done = part[took:], done+took
		if done == n {
			break
		}
		part, parts = parts[0], parts[1:]
	}
	end := max(blockLen, (n+blockLen-1)/blockLen*blockLen)
	clear(room[n:end])
	return part, parts
}

// finish computes all roots: tree i's is at nodes[trees[i].at].
func (b *batch) finish(h *Hasher) {
	q := &b.full
	if q.n+b.short.n <= width {
		q.take(&b.short)
	}
	q.flush()
	b.short.flush()
	q.begin(h, h.flags|flagParent, 0)
	for log := uint8(chunkLog); ; log++ {
		if log == b.wants.log {
			b.handOut()
		}
		if !b.level() {
			break
		}
	}
	b.full.forget()
	b.short.forget()
}

// handOut copies the nodes of trees that have more than one at this level.
func (b *batch) handOut() {
	w := &b.wants
	for _, t := range b.trees {
		if t.n > 1 {
			w.to = w.to[copy(w.to[:t.n], b.nodes[t.at:]):]
		}
	}
}

// level joins each tree's chaining values in pairs. It returns false when
// there was nothing to join. A node is written where a pass before, or the same
// pass, has read the last that needs it.
func (b *batch) level() bool {
	joined := false
	for _, t := range b.trees {
		last := uint32(0)
		if t.n == 2 {
			last = t.flag
		}
		for i := range t.n / 2 {
			b.full.add(unsafe.Pointer(&b.nodes[t.at+2*i]), &b.nodes[t.at+i], 0, blockLen, last)
			joined = true
		}
	}
	b.full.flush()
	for i := range b.trees {
		t := &b.trees[i]
		if t.n%2 == 1 {
			b.nodes[t.at+t.n/2] = b.nodes[t.at+t.n-1]
		}
		t.n = (t.n + 1) / 2
	}
	return joined
}
