package blake

import (
	"slices"
	"sync"
)

// kernel is what compresses lanes.
type kernel int

const (
	none     kernel = iota // zeebo/blake3 hashes all, lukechampine.com/blake3 where nodes are wanted
	portable               // compressPortable: slow, on any processor
	assembly
)

// minLanes is the size from which one message by itself is hashed faster in lanes: on a Xeon of the
// Sapphire Rapids class 1 KiB takes 1.7 µs there for 1.1 elsewhere, 2 KiB 1.7 for 2.2.
const minLanes = chunkLen + 1

// best is what this machine hashes with. What fails its check is not used.
var best = sync.OnceValue(func() kernel {
	switch {
	case hasLanes() && proved(assembly):
		return assembly
	case proved(none):
		return none
	}
	return portable
})

// proved says that a kernel computes what the stream does, with a key and without: of
// messages that fill the wide lanes, the narrow ones, and parents of both, and of as many short
// ones that each lane of a wide pass ends at a block of its own. And that the nodes that it
// hands out are those that the hashes are made of.
func proved(k kernel) bool {
	plain := make([]byte, 33*chunkLen+1)
	for i := range plain {
		plain[i] = byte(i % 251)
	}
	messages := []Message{{plain}, {plain[:5*chunkLen]}}
	for i := range width {
		messages = append(messages, Message{plain[i : i+1+(7*i%width)*blockLen]})
	}
	const log = chunkLog + 2
	for _, key := range [][]byte{nil, plain[1:33]} {
		h := newHasher(key, k)
		sums := make([][sumLen]byte, len(messages))
		n := NodesOf(len(plain), log)
		nodes := make([][sumLen]byte, n+NodesOf(5*chunkLen, log))
		SumNodes(h, sums, messages, log, nodes)
		for i := range messages {
			if sums[i] != h.stream(messages[i][:]) {
				return false
			}
		}
		run := make([][sumLen]byte, n-1)
		h.Nodes(run, plain[1<<log:], log, 1)
		if h.root(nodes[:n]) != sums[0] || h.root(nodes[n:]) != sums[1] || !slices.Equal(run, nodes[1:n]) {
			return false
		}
	}
	return true
}
