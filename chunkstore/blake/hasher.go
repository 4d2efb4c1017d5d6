package blake

import (
	"encoding/binary"
	"sync"

	"github.com/zeebo/blake3"
)

// Hasher computes BLAKE3-256 hashes under one key, or without one. It is safe
// for concurrent use, and keeps nothing of what it hashes.
type Hasher struct {
	kernel  kernel
	key     [8]uint32
	flags   uint32
	streams sync.Pool // of *blake3.Hasher, reset; one takes 10 KiB
}

// batches are of all hashers: one takes 70 KiB.
var batches = sync.Pool{New: func() any { return new(batch) }}

// Message is what to hash as one: the second part may be empty.
type Message [2][]byte

func (m *Message) size() int { return len(m[0]) + len(m[1]) }

// New returns a hasher with a key of 32 bytes, or without one for nil.
func New(key []byte) *Hasher { return newHasher(key, best()) }

func newHasher(key []byte, k kernel) *Hasher {
	h := &Hasher{kernel: k, key: iv}
	stream := func() any { return blake3.New() }
	if key != nil {
		key = append([]byte(nil), key...)
		stream = func() any {
			s, err := blake3.NewKeyed(key)
			if err != nil {
				panic(err) // only for a key that is not 32 bytes long
			}
			return s
		}
		for i := range h.key {
			h.key[i] = binary.LittleEndian.Uint32(key[4*i:])
		}
		h.flags = flagKeyed
	}
	h.streams.New = stream
	return h
}

// Sum hashes parts as if they were one.
func (h *Hasher) Sum(parts ...[]byte) (sum [sumLen]byte) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if h.kernel == none || size < minLanes || chunksOf(size) > maxChunks {
		return h.stream(parts)
	}
	b := batches.Get().(*batch)
	b.begin(h)
	b.add(size, parts)
	b.finish(h)
	sum = b.nodes[0]
	batches.Put(b)
	return sum
}

// SumMany hashes messages, each by itself: sums[i] becomes the hash of messages[i].
// Many short ones are hashed faster together than one by one.
func SumMany[S ~[sumLen]byte](h *Hasher, sums []S, messages []Message) {
	sumMany(h, sums, messages, wants{})
}

// SumNodes is [SumMany] that hands out nodes of the trees on the way: the chaining values
// of the messages' aligned runs of 1<<log bytes, message by message. nodes has room for
// the [NodesOf] all messages. log is 10 or more.
func SumNodes[S ~[sumLen]byte](h *Hasher, sums []S, messages []Message, log uint8, nodes [][sumLen]byte) {
	sumMany(h, sums, messages, wants{log, nodes})
}

func sumMany[S ~[sumLen]byte](h *Hasher, sums []S, messages []Message, w wants) {
	if h.kernel == none {
		for i := range messages {
			sums[i] = S(h.alone(&messages[i], &w))
		}
		return
	}
	b := batches.Get().(*batch)
	for len(messages) > 0 {
		n := b.fill(h, messages, &w)
		for i, t := range b.trees {
			sums[i] = S(b.nodes[t.at])
		}
		if n == 0 { // longer than a batch
			sums[0], n = S(h.alone(&messages[0], &w)), 1
		}
		sums, messages = sums[n:], messages[n:]
	}
	batches.Put(b)
}

// fill hashes the first messages, as many as fit, and returns their number.
func (b *batch) fill(h *Hasher, messages []Message, w *wants) (n int) {
	b.begin(h)
	b.wants = *w
	for ; n < len(messages); n++ {
		m := &messages[n]
		size := m.size()
		if b.used+chunksOf(size) > maxChunks {
			break
		}
		b.add(size, m[:])
	}
	b.finish(h)
	*w, b.wants = b.wants, wants{}
	return n
}

// alone hashes a message by itself, without lanes of our own.
func (h *Hasher) alone(m *Message, w *wants) [sumLen]byte {
	n := NodesOf(m.size(), w.log)
	if w.log == 0 || n == 0 {
		return h.stream(m[:])
	}
	nodes := w.to[:n]
	w.to = w.to[n:]
	h.subtrees(nodes, m, w.log, 0)
	return h.root(nodes)
}

// stream hashes parts as if they were one, with one lane or eight.
func (h *Hasher) stream(parts [][]byte) (sum [sumLen]byte) {
	s := h.streams.Get().(*blake3.Hasher)
	for _, p := range parts {
		s.Write(p)
	}
	s.Sum(sum[:0])
	s.Reset()
	h.streams.Put(s)
	return sum
}
