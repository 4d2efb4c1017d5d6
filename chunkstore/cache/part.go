package cache

import (
	"encoding/binary"

	"holdfast/chunkstore/pack"
)

// minPart is the least that a store decodes alone.
const minPart = 4096

// key names what the cache holds: a chunk, or one of its parts.
type key struct {
	id   pack.ID
	part uint8 // 0: the whole chunk; else part number part-1
}

// ghost is the key as a shard remembers it when it is gone.
func (k key) ghost() uint64 { return binary.LittleEndian.Uint64(k.id[8:]) + uint64(k.part) }

// partOf returns what k names of a chunk of n plain bytes.
func (c *Cache) partOf(k key, n int) pack.Part {
	if k.part == 0 {
		return pack.Part{Chunk: n, From: 0, To: n}
	}
	from := (int(k.part) - 1) * c.part
	return pack.Part{Chunk: n, From: from, To: min(n, from+c.part)}
}

// PartSize returns the bytes of a part, but for a chunk's last; 0 when the cache
// has no parts.
func (c *Cache) PartSize() int { return c.part }

// BeginPart is Begin for a reader that wants only the bytes of part n of the
// chunk, from n*PartSize on: where the chunk is not known as a whole, no more than
// that part is decoded, unless the store can't do that. The caller looks at
// Slice, and not at Bytes.
func (c *Cache) BeginPart(id pack.ID, plainLen, n int) *Chunk {
	if c.part == 0 || n < 0 || n >= pack.MaxChunk/c.part || n*c.part >= plainLen || c.part >= plainLen {
		return c.Begin(id, plainLen)
	}
	return c.begin(key{id, uint8(n + 1)}, plainLen)
}

// find returns what a reader of k can use: the whole chunk if it is known.
func (s *shard) find(k key) *Chunk {
	if k.part != 0 {
		if ch := s.chunks[key{id: k.id}]; ch != nil {
			return ch
		}
	}
	return s.chunks[k]
}

func (s *shard) add(ch *Chunk) {
	s.chunks[ch.key] = ch
	if ch.key.part != 0 {
		s.parts++
	}
}

func (s *shard) remove(ch *Chunk) {
	delete(s.chunks, ch.key)
	if ch.key.part != 0 {
		s.parts--
	}
}

// widen makes a loading part what it turned out to be, the whole chunk. It
// reports false when the shard knows that already: then it knows ch no more.
func (s *shard) widen(ch *Chunk) bool {
	s.remove(ch)
	ch.key.part = 0
	if s.chunks[ch.key] != nil {
		return false
	}
	s.add(ch)
	return true
}

// dropParts gives up the parts of a chunk that is there as a whole. Those that
// somebody holds or that are loading go their own way.
func (s *shard) dropParts(id pack.ID) {
	if s.parts == 0 {
		return
	}
	for n := range pack.MaxChunk / minPart {
		ch := s.chunks[key{id, uint8(n + 1)}]
		if ch != nil && ch.charge != 0 && ch.in != nil && ch.refs.Load() == 1 {
			s.discard(ch)
		}
	}
}
