package chunkstore

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

const (
	bloomWords  = 8 // of a block: one line of a processor's cache
	bloomProbes = 4 // bits of a block that stand for an id
)

// bloom is a set of ids that may take one for a member that is none, and never one
// that is a member for none. An id sets four bits of one block of 512; ids are keyed
// hashes, so their own bits say which. With ten bits for each id one stranger in 60
// passes, with five one in 11. Its methods are safe for concurrent use.
type bloom struct {
	words []uint64 // changed and read atomically
}

func newBloom(bytes int) *bloom {
	blocks := max(1, bytes/(8*bloomWords))
	return &bloom{make([]uint64, blocks*bloomWords)}
}

// at returns an id's block and where its bits are. Ids in order have blocks in
// order, so an index is read into it from front to back.
func (b *bloom) at(id ID) (block []uint64, where uint64) {
	n, _ := bits.Mul64(binary.BigEndian.Uint64(id[:]), uint64(len(b.words)/bloomWords))
	return b.words[n*bloomWords:][:bloomWords], binary.LittleEndian.Uint64(id[8:])
}

func (b *bloom) add(id ID) {
	block, where := b.at(id)
	for range bloomProbes {
		if w, bit := &block[where>>6&7], uint64(1)<<(where&63); atomic.LoadUint64(w)&bit == 0 {
			atomic.OrUint64(w, bit)
		}
		where >>= 9
	}
}

// mayHave reports whether id was added; true may be wrong.
func (b *bloom) mayHave(id ID) bool {
	block, where := b.at(id)
	for range bloomProbes {
		if atomic.LoadUint64(&block[where>>6&7])>>(where&63)&1 == 0 {
			return false
		}
		where >>= 9
	}
	return true
}

// merge adds what words of another one of the same size hold, from word at on, and
// returns how many they are; they are in data, u64 each.
func (b *bloom) merge(at int, data []byte) int {
	words := b.words[at:][:len(data)/8]
	for i := range words {
		if w := binary.LittleEndian.Uint64(data[8*i:]); w != 0 {
			atomic.OrUint64(&words[i], w)
		}
	}
	return len(words)
}
