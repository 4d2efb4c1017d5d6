package chunkstore

import (
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

// at returns an id's block and where its bits are.
func (b *bloom) at(id idHead) (block []uint64, where uint64) {
	n, where := lineOf(id, uint64(len(b.words)/bloomWords))
	return b.words[n*bloomWords:][:bloomWords], where
}

func (b *bloom) add(id ID) { b.addHead(headOf(id)) }

func (b *bloom) addHead(id idHead) {
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
	block, where := b.at(headOf(id))
	for range bloomProbes {
		if atomic.LoadUint64(&block[where>>6&7])>>(where&63)&1 == 0 {
			return false
		}
		where >>= 9
	}
	return true
}
