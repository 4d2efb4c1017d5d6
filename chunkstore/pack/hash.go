package pack

import "holdfast/chunkstore/blake"

// unkeyed hashes stored bytes.
var unkeyed = blake.New(nil)

// Sum is the 16-byte checksum of stored bytes: the start of their BLAKE3 hash.
func Sum(parts ...[]byte) (s [sumLen]byte) {
	full := unkeyed.Sum(parts...)
	copy(s[:], full[:])
	return s
}
