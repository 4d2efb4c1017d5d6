package pack

import (
	"sync"

	"github.com/zeebo/blake3"
)

// hashers lends BLAKE3 hashers of one key. A hasher takes 10 KiB: made anew for
// each chunk, they were nine tenths of all that a capture allocates.
type hashers struct {
	pool sync.Pool // of *blake3.Hasher, reset
}

// newHashers returns hashers with a key of 32 bytes, or without one for nil.
func newHashers(key []byte) *hashers {
	make := func() any { return blake3.New() }
	if key != nil {
		key = append([]byte(nil), key...)
		make = func() any {
			h, err := blake3.NewKeyed(key)
			if err != nil {
				panic(err) // only for a key that is not 32 bytes long
			}
			return h
		}
	}
	return &hashers{sync.Pool{New: make}}
}

// sum hashes parts as if they were one. It is safe for concurrent use.
func (p *hashers) sum(parts ...[]byte) (s [32]byte) {
	h := p.pool.Get().(*blake3.Hasher)
	for _, b := range parts {
		h.Write(b)
	}
	h.Sum(s[:0])
	h.Reset()
	p.pool.Put(h)
	return s
}

// unkeyed are the hashers of stored bytes.
var unkeyed = newHashers(nil)

// Sum is the 16-byte checksum of stored bytes: the start of their BLAKE3 hash.
func Sum(parts ...[]byte) (s [sumLen]byte) {
	full := unkeyed.sum(parts...)
	copy(s[:], full[:])
	return s
}
