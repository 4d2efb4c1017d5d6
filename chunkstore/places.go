package chunkstore

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"holdfast/chunkstore/pack"
)

const (
	placeWays = 4
	// maxPlaces is the most that are remembered: twice as many as the default cache is warmed for, so that
	// hardly one of these finds no room. They take 12 MiB.
	maxPlaces = 1 << 19
	// leastPlaces are remembered in a store that has no chunks yet: they come.
	leastPlaces = 1 << 14
)

// places remembers where chunks probably lie, so that a read needs no look-up in the
// index (5 µs). What it says may be wrong or out of date, and nothing is believed because
// of it: what does not come back proved is looked up. It forgets what there is no room
// for. It is safe for concurrent use; the zero value knows nothing and learns nothing.
type places struct {
	table atomic.Pointer[[]placeSet]
}

// placeSet holds the places of chunks whose ids begin alike.
type placeSet [placeWays]struct {
	tag  atomic.Uint64 // of the id
	pack atomic.Uint64
	at   atomic.Uint64 // offset<<32 | payloadLen; 0: nothing. Two writers at once may mix up what they write
}

// room makes room for the places of so many chunks, or of as many as there may be.
func (p *places) room(chunks int64) {
	n := 2 * max(1, min(chunks, maxPlaces/2))
	table := make([]placeSet, max(1, 1<<bits.Len64(uint64(n-1))/placeWays))
	p.table.Store(&table)
}

// set returns the places among which that of a chunk is, or nil.
func (p *places) set(id *ID) (set *placeSet, tag uint64) {
	table := p.table.Load()
	if table == nil {
		return nil, 0
	}
	n := binary.LittleEndian.Uint64(id[:]) & uint64(len(*table)-1) // a power of two
	return &(*table)[n], binary.LittleEndian.Uint64(id[8:])
}

// find returns where a chunk probably lies.
func (p *places) find(id ID) (place, bool) {
	set, tag := p.set(&id)
	if set == nil {
		return place{}, false
	}
	for i := range set {
		s := &set[i]
		if at := s.at.Load(); at != 0 && s.tag.Load() == tag {
			return place{s.pack.Load(), uint32(at >> 32), uint32(at)}, true
		}
	}
	return place{}, false
}

// note remembers a place: for what was there of the same chunk, if anything, else where
// there is room, else for another's.
func (p *places) note(id ID, at place) {
	set, tag := p.set(&id)
	if set == nil || at.payloadLen == 0 {
		return
	}
	s := &set[id[16]%placeWays]
	for i := range set {
		if was := &set[i]; was.at.Load() == 0 || was.tag.Load() == tag {
			s = was
			break
		}
	}
	s.tag.Store(tag)
	s.pack.Store(at.pack)
	s.at.Store(uint64(at.offset)<<32 | uint64(at.payloadLen))
}

// noteBehind remembers what lies behind a record, of which behind is the beginning. A
// capture puts a disk's chunks into packs in the disk's order, so who reads a disk from
// front to back wants that next. A place that is known already stays: this may be an old
// record, which is damaged and has been stored anew elsewhere.
func (p *places) noteBehind(at place, behind []byte) {
	id, payloadLen, ok := pack.PeekHeader(behind)
	end := uint64(at.offset) + uint64(at.recordLen())
	if !ok || end+uint64(pack.RecordHeaderLen+payloadLen) > pack.MaxPack {
		return
	}
	if _, known := p.find(id); !known {
		p.note(id, place{at.pack, uint32(end), uint32(payloadLen)})
	}
}
