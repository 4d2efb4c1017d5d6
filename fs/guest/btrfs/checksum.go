package btrfs

import (
	"bytes"
	"crypto/sha256"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/crypto/blake2b"
)

// sumKind is a kind of checksum; a filesystem has one for its metadata and its
// content.
type sumKind struct {
	name string
	size int
	sum  func(b []byte) []byte
}

// sumKinds are the kinds by their number (enum btrfs_csum_type).
var sumKinds = [...]sumKind{
	{"crc32c", 4, func(b []byte) []byte { return le.AppendUint32(nil, crc32.Checksum(b, castagnoli)) }},
	{"xxhash64", 8, func(b []byte) []byte { return le.AppendUint64(nil, xxhash.Sum64(b)) }},
	{"sha256", 32, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }},
	{"blake2b", 32, func(b []byte) []byte { s := blake2b.Sum256(b); return s[:] }},
}

// headSum is the space for a checksum at the start of a structure.
const headSum = 32

// fits tells whether want begins with the checksum of b. A structure's own,
// in its first 32 bytes, is not part of what is summed: its b begins behind.
func (k sumKind) fits(b, want []byte) bool { return bytes.Equal(k.sum(b), want[:k.size]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// nameHash is the offset of a name's directory item (btrfs_name_hash): CRC32C
// from another start, and without the last step.
func nameHash(name string) uint64 { return uint64(rawCRC(^uint32(1), name)) }

// extrefHash is the offset of an extended reference (btrfs_extref_hash).
func extrefHash(parent uint64, name string) uint64 { return uint64(rawCRC(uint32(parent), name)) }

func rawCRC(start uint32, s string) uint32 { return ^crc32.Update(^start, castagnoli, []byte(s)) }
