package heal

import (
	"encoding/binary"

	"holdfast/chunkstore/pack"
)

// seen remembers maps that a walk need not follow again, in a bounded amount of
// memory: where it is full it forgets. To forget costs a second look at a map,
// no more. Versions are walked in the order in which they were captured, and
// each shares nearly all of its maps with the one before, so what is worth
// remembering was seen last.
//
// It begins small and doubles: all of it counts as alive for the collector, which
// lets as much garbage lie about. It is not safe for concurrent use.
type seen struct {
	sets []seenSet // 2^k
	ids  int       // that were put into them, at least as many as they hold
}

// seenSet holds the ids whose first bits lead here, the one put last in front.
type seenSet [seenWays]halfID

// halfID is the first half of an id: 2^64 maps to meet another. Zeros are none.
type halfID [16]byte

const (
	seenWays = 4
	// leastSeenSets make 128 KiB: the maps of 4,000 regions, 16 GiB of disks, before
	// they are doubled.
	leastSeenSets = 1 << 11
	// mostSeenSets make 32 MiB, which remember the maps of 2 million regions, 8 TiB
	// of disks.
	mostSeenSets = 1 << 19
)

func newSeen() *seen { return &seen{sets: make([]seenSet, leastSeenSets)} }

func (s *seen) set(half halfID) *seenSet {
	return &s.sets[binary.LittleEndian.Uint32(half[:])&uint32(len(s.sets)-1)]
}

func (s *seen) has(id pack.ID) bool {
	half := halfID(id[:len(halfID{})])
	for _, h := range s.set(half) {
		if h == half {
			return true
		}
	}
	return false
}

func (s *seen) add(id pack.ID) {
	if s.ids >= len(s.sets)*seenWays/2 && len(s.sets) < mostSeenSets {
		s.grow()
	}
	s.put(halfID(id[:len(halfID{})]))
	s.ids++
}

func (s *seen) put(half halfID) {
	set := s.set(half)
	for i := range set {
		if set[i] == half || i == seenWays-1 {
			copy(set[1:i+1], set[:i])
			break
		}
	}
	set[0] = half
}

// grow doubles the sets. In each the order stays.
func (s *seen) grow() {
	old := s.sets
	s.sets, s.ids = make([]seenSet, 2*len(old)), 0
	for i := range old {
		for way := seenWays - 1; way >= 0; way-- {
			if half := old[i][way]; half != (halfID{}) {
				s.put(half)
				s.ids++
			}
		}
	}
}
