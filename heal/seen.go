package heal

import "holdfast/chunkstore/pack"

// seen remembers maps that a walk need not follow again, in a fixed amount of
// memory: where it is full it forgets. To forget costs a second look at a map,
// no more. Versions are walked in the order in which they were captured, and
// each shares nearly all of its maps with the one before, so what is worth
// remembering was seen last.
type seen struct {
	sets []seenSet
}

// seenSet holds the ids whose hash leads here, the one put last in front.
type seenSet [seenWays][16]byte // half an id: 2^64 maps to meet another

const (
	seenWays = 4
	// seenSets makes 32 MiB, which remember the maps of 2 million regions, 8 TiB
	// of disks. Memory that is not needed is never touched.
	seenSets = 1 << 19
)

func newSeen() *seen { return &seen{make([]seenSet, seenSets)} }

func (s *seen) set(id pack.ID) *seenSet {
	n := uint32(id[16]) | uint32(id[17])<<8 | uint32(id[18])<<16
	return &s.sets[n%uint32(len(s.sets))]
}

func (s *seen) has(id pack.ID) bool {
	half := [16]byte(id[:16])
	for _, h := range s.set(id) {
		if h == half {
			return true
		}
	}
	return false
}

func (s *seen) add(id pack.ID) {
	set := s.set(id)
	half := [16]byte(id[:16])
	for i := range set {
		if set[i] == half || i == seenWays-1 {
			copy(set[1:i+1], set[:i])
			break
		}
	}
	set[0] = half
}
