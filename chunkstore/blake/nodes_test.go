package blake

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	_ "unsafe" // for the names below
)

// What guts found the processor to have: a test takes it away.
//
//go:linkname gutsAVX512 lukechampine.com/blake3/guts.haveAVX512
var gutsAVX512 bool

//go:linkname gutsAVX2 lukechampine.com/blake3/guts.haveAVX2
var gutsAVX2 bool

// eachNodes is eachHasher that runs the test of the kernel none with all that guts has.
func eachNodes(t *testing.T, run func(t *testing.T, h *Hasher, key []byte)) {
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		if h.kernel != none {
			run(t, h, key)
			return
		}
		avx512, avx2 := gutsAVX512, gutsAVX2
		defer func() { gutsAVX512, gutsAVX2 = avx512, avx2 }()
		t.Run("first", func(t *testing.T) { run(t, h, key) })
		gutsAVX512 = false
		t.Run("second", func(t *testing.T) { run(t, h, key) })
		gutsAVX2 = false
		t.Run("third", func(t *testing.T) { run(t, h, key) })
	})
}

// modelNode is the chaining value of a subtree, which begins with chunk number counter,
// by the definition. flag is the last node's.
func modelNode(key *[8]uint32, flags uint32, b []byte, counter, flag uint32) [8]uint32 {
	if len(b) > chunkLen {
		left := chunkLen
		for 2*left < len(b) {
			left *= 2
		}
		var both [blockLen]byte
		for i, side := range [][8]uint32{modelNode(key, flags, b[:left], counter, 0), modelNode(key, flags, b[left:], counter+uint32(left/chunkLen), 0)} {
			for w, v := range side {
				binary.LittleEndian.PutUint32(both[32*i+4*w:], v)
			}
		}
		return compressBlock(key, &both, 0, blockLen, flags|flagParent|flag)
	}
	cv := *key
	for at := 0; ; at += blockLen {
		var block [blockLen]byte
		f := flags
		if at == 0 {
			f |= flagChunkStart
		}
		n := copy(block[:], b[at:])
		if at+n == len(b) {
			return compressBlock(&cv, &block, counter, uint32(n), f|flagChunkEnd|flag)
		}
		cv = compressBlock(&cv, &block, counter, uint32(n), f)
	}
}

func sumOf(words [8]uint32) (sum [sumLen]byte) {
	for w, v := range words {
		binary.LittleEndian.PutUint32(sum[4*w:], v)
	}
	return sum
}

// modelled are nodes that the model has computed already, by their log and message.
var modelled sync.Map

// wantNodes are the nodes of a message by the model, which is slow.
func wantNodes(key, message []byte, log int) [][sumLen]byte {
	of := [2]any{log, want(key, message)}
	nodes, ok := modelled.Load(of)
	if !ok {
		nodes = modelNodes(key, message, log)
		modelled.Store(of, nodes)
	}
	return nodes.([][sumLen]byte)
}

func modelNodes(key, message []byte, log int) (nodes [][sumLen]byte) {
	h := newHasher(key, portable)
	if len(message) <= 1<<log {
		return nil
	}
	for at := 0; at < len(message); at += 1 << log {
		end := min(len(message), at+1<<log)
		nodes = append(nodes, sumOf(modelNode(&h.key, h.flags, message[at:end], uint32(at/chunkLen), 0)))
	}
	return nodes
}

// modelRoot joins nodes, which are all of a message's, by the definition.
func modelRoot(key []byte, nodes [][sumLen]byte) [sumLen]byte {
	h := newHasher(key, portable)
	for len(nodes) > 1 {
		var up [][sumLen]byte
		for i := 0; i+1 < len(nodes); i += 2 {
			both, flag := [blockLen]byte(slices.Concat(nodes[i][:], nodes[i+1][:])), uint32(0)
			if len(nodes) == 2 {
				flag = flagRoot
			}
			up = append(up, sumOf(compressBlock(&h.key, &both, 0, blockLen, h.flags|flagParent|flag)))
		}
		if len(nodes)%2 == 1 {
			up = append(up, nodes[len(nodes)-1])
		}
		nodes = up
	}
	return nodes[0]
}

// nodeLogs are the runs that a store may have frames of, and one below.
var nodeLogs = []int{10, 12, 13, 14, 15}

// checkNodes hashes messages with their nodes, and their runs by themselves.
func checkNodes(t *testing.T, h *Hasher, key []byte, log int, messages []Message) {
	t.Helper()
	sums := make([][sumLen]byte, len(messages))
	var expected [][sumLen]byte
	joined := make([][]byte, len(messages))
	for i, m := range messages {
		joined[i] = bytes.Join(m[:], nil)
		expected = append(expected, wantNodes(key, joined[i], log)...)
	}
	nodes := make([][sumLen]byte, len(expected)+1)
	SumNodes(h, sums, messages, uint8(log), nodes[:len(expected)])
	if !slices.Equal(nodes[:len(expected)], expected) || nodes[len(expected)] != [sumLen]byte{} {
		t.Fatalf("%d messages: other nodes than the model's", len(messages))
	}
	for i, m := range joined {
		if sums[i] != want(key, m) {
			t.Fatalf("message %d of %d, of %d + %d bytes: %x", i, len(messages), len(messages[i][0]), len(messages[i][1]), sums[i])
		}
		n := NodesOf(len(m), uint8(log))
		if n > 0 && modelRoot(key, nodes[:n]) != sums[i] {
			t.Fatalf("message %d of %d: its nodes do not make its hash", i, len(messages))
		}
		nodes = nodes[n:]
	}
}

// checkRuns computes runs of a message's nodes by themselves: each one, each that ends
// with the last, and all but the last.
func checkRuns(t *testing.T, h *Hasher, key []byte, log int, message []byte) {
	t.Helper()
	want := wantNodes(key, message, log)
	check := func(from, to int) {
		got := make([][sumLen]byte, to-from)
		h.Nodes(got, message[from<<log:min(len(message), to<<log)], uint8(log), from)
		if !slices.Equal(got, want[from:to]) {
			t.Fatalf("runs [%d, %d) of %d bytes", from, to, len(message))
		}
	}
	for i := range want {
		check(i, i+1)
		check(i, len(want))
	}
	if len(want) > 0 {
		check(0, len(want)-1)
	}
}

// nodeSizes are lengths up to 65 KiB around the ends of chunks and so of runs.
func nodeSizes() (list []int) {
	for n := 0; n <= 65*chunkLen; n += chunkLen {
		list = append(list, max(n-1, 0), n, n+1)
	}
	return list
}

func TestNodesOfEveryBorder(t *testing.T) {
	all := pattern(66 * chunkLen)
	eachNodes(t, func(t *testing.T, h *Hasher, key []byte) {
		for k, n := range nodeSizes() {
			for _, log := range nodeLogs {
				if h.kernel == portable && k%11 != log%11 { // all of them would take long
					continue
				}
				checkNodes(t, h, key, log, []Message{{all[:n]}})
				if k%33 == log%33 {
					checkRuns(t, h, key, log, all[:n])
				}
			}
		}
	})
}

// TestNodesOfMany: messages of all kinds in one call, in two parts, and longer than a batch.
func TestNodesOfMany(t *testing.T) {
	all := pattern((maxChunks + 2) * chunkLen)
	eachNodes(t, func(t *testing.T, h *Hasher, key []byte) {
		r := rand.New(rand.NewPCG(3, 4))
		for round := range 10 {
			messages := make([]Message, r.IntN(20))
			for i := range messages {
				n, from := r.IntN(1<<(6+r.IntN(11))), r.IntN(5000)
				cut := n
				if round%2 == 1 {
					cut = r.IntN(n + 1)
				}
				messages[i] = Message{all[from : from+cut], all[from+cut : from+n]}
			}
			if len(messages) > 2 && round%3 == 0 {
				messages[1] = Message{all[:(maxChunks-1+round/3%3)*chunkLen+round%2]}
				messages[2] = Message{}
			}
			checkNodes(t, h, key, nodeLogs[round%len(nodeLogs)], messages)
		}
		checkRuns(t, h, key, 15, all[:maxChunks*chunkLen+1])
		checkNodes(t, h, key, 20, []Message{{all}, {all[:1<<20]}})
	})
}

// TestNodesAtOnce: one hasher serves many goroutines.
func TestNodesAtOnce(t *testing.T) {
	all := pattern(66 * chunkLen)
	eachNodes(t, func(t *testing.T, h *Hasher, key []byte) {
		want := wantNodes(key, all[:60000], 12)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for i := range 6 {
					nodes := make([][sumLen]byte, len(want))
					SumNodes(h, make([][sumLen]byte, 2), []Message{{all[:60000]}, {all[:i*90]}}, 12, nodes)
					first := i % len(want)
					h.Nodes(nodes[first:], all[first<<12:60000], 12, first)
					if !slices.Equal(nodes, want) {
						t.Errorf("other nodes")
					}
				}
			})
		}
		wait.Wait()
	})
}

// TestNodesReadNothingOutside computes nodes of messages that begin and end at pages that
// cannot be read.
func TestNodesReadNothingOutside(t *testing.T) {
	const size = 36 << 10 // whole pages, more than two pieces
	inside := guarded(t, size)
	eachNodes(t, func(t *testing.T, h *Hasher, key []byte) {
		for k, n := range nodeSizes()[:36*3] {
			log := nodeLogs[k/3%len(nodeLogs)]
			if k%4 != 0 && h.kernel == portable {
				continue
			}
			first, last := inside[:n], inside[size-n:]
			checkNodes(t, h, key, log, []Message{{first}, {last, first[:n/2]}, {last}})
			checkRuns(t, h, key, log, last)
		}
	})
}

// TestNodesAreFrozen: sums on disk are made of them.
func TestNodesAreFrozen(t *testing.T) {
	want := []string{
		"a6f73220d433072ab3bad5a6de32ea44c190dfede77776c032c6e5f931cbb40a",
		"ad3f187b80d520d55759aab089b7c93e20dd949171ce97d151610f0948ddb5f8",
		"971ba567b3589c4b8c68792b5cd58375204da6332e0aa0250bffb30b6aa36bcf",
	}
	eachNodes(t, func(t *testing.T, h *Hasher, key []byte) {
		if key == nil {
			return
		}
		nodes := make([][sumLen]byte, 3)
		h.Nodes(nodes, pattern(9000), 12, 0)
		for i := range nodes {
			if got := hex.EncodeToString(nodes[i][:]); got != want[i] {
				t.Errorf("node %d: %s", i, got)
			}
		}
	})
}

func FuzzNodes(f *testing.F) {
	addPatterns(f)
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		key, messages, r := cutBySeed(data, seed)
		log := 10 + r.IntN(6)
		for _, k := range kernels() {
			h := newHasher(key, k)
			checkNodes(t, h, key, log, messages)
			checkRuns(t, h, key, log, data)
		}
	})
}

func BenchmarkNodes(b *testing.B) {
	avx512 := gutsAVX512
	defer func() { gutsAVX512 = avx512 }()
	gutsAVX512 = false // so that none is what a machine without it has
	for _, k := range []kernel{none, assembly} {
		h := newHasher(testKey, k)
		for _, log := range []uint8{12, 14} {
			p := pattern(1 << 20)
			run := func(name string, n int, do func()) {
				b.Run(fmt.Sprintf("%v/%d/%s", k, 1<<log, name), func(b *testing.B) {
					b.SetBytes(int64(n))
					b.ReportAllocs()
					for b.Loop() {
						do()
					}
				})
			}
			nodes := make([][sumLen]byte, 256)
			run("one", 1<<log, func() { h.Nodes(nodes[:1], p[1<<log:2<<log], log, 1) })
			run("chunk", 1<<16, func() { h.Nodes(nodes[:1<<16>>log], p[:1<<16], log, 0) })
			var m []Message
			for at := 0; at < len(p); at += 1 << 16 {
				m = append(m, Message{p[at : at+1<<16]})
			}
			sums := make([][sumLen]byte, len(m))
			run("many", 1<<20, func() { SumNodes(h, sums, m, log, nodes) })
			run("many-without", 1<<20, func() { SumMany(h, sums, m) })
		}
	}
}
