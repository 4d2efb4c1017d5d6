package pack

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"holdfast/chunkstore/blake"
)

// unkeyed hashes stored bytes.
var unkeyed = blake.New(nil)

// Sum is the 16-byte checksum of stored bytes: the start of their BLAKE3 hash.
func Sum(parts ...[]byte) (s [sumLen]byte) {
	full := unkeyed.Sum(parts...)
	copy(s[:], full[:])
	return s
}

// summed are the bytes of a whole record that its sum is of, in two parts.
func summed(rec []byte) (head, payload []byte) {
	return rec[:recordSumOff], rec[RecordHeaderLen:]
}

// sum is the sum of a whole record's stored bytes: what its header is to tell.
func (v recordVersion) sum(rec []byte) (s [sumLen]byte) {
	head, payload := summed(rec)
	if v == recordV1 {
		return Sum(head, payload)
	}
	var h xxh3.Hasher
	h.Write(head) // it never fails
	h.Write(payload)
	full := h.Sum128()
	binary.LittleEndian.PutUint64(s[:], full.Lo)
	binary.LittleEndian.PutUint64(s[8:], full.Hi)
	return s
}
