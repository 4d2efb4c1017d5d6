package pack

import (
	"encoding/hex"
	"fmt"

	"holdfast/chunkstore/blake"
)

// MaxChunk is the most plain bytes that one chunk holds. It is part of the
// format: maps and readers rely on it.
const MaxChunk = 64 << 10

// ID names a chunk: the BLAKE3-256 hash of its plain bytes, keyed with the
// store's key. The zero ID names no chunk; maps use it for a hole.
type ID [32]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads the 64 hexadecimal digits that String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("parse chunk id %q: %d characters, want %d", s, len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("parse chunk id %q: %w", s, err)
	}
	return id, nil
}

// Key is a store's secret: 32 random bytes made when the store is made. Two
// stores with different keys name the same bytes differently.
type Key [32]byte

// ID returns the name of plain under k. It is safe for concurrent use and
// makes a hasher; a Codec keeps its own.
func (k *Key) ID(plain []byte) ID { return blake.New(k[:]).Sum(plain) }
