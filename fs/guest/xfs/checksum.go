package xfs

import (
	"hash/crc32"

	"holdfast/fs/guest"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOK verifies a structure's CRC32C, kept little-endian at a place in it that
// counts as zeros (Self-Describing Metadata). What comes from the log in part
// has no valid one.
func (f *FS) sumOK(b buffer, at int) bool {
	return b.fromLog || f.lax || le.Uint32(b.data[at:]) == sumWithout(b.data, at)
}

// sumWithout computes the CRC32C of b with zeros for the four bytes at a place.
func sumWithout(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[at+4:])
}

// seal says where a kind of structure of version 5 keeps what it is verified
// by. A block's number is its place in sectors of 512 bytes.
type seal struct {
	name             string
	sum, uuid, place int
	lsn              int // of the newest change in it; for the log
}

var (
	sealShortTree = seal{name: "B+tree", sum: 52, uuid: 32, place: 16, lsn: 24}
	sealLongTree  = seal{name: "extent B+tree", sum: 64, uuid: 40, place: 24, lsn: 32}
	sealDirData   = seal{name: "directory block", sum: 4, uuid: 24, place: 8, lsn: 16}
	sealDa        = seal{name: "index or xattr block", sum: 12, uuid: 32, place: 16, lsn: 24}
	sealRemote    = seal{name: "link or xattr value", sum: 12, uuid: 16, place: 40, lsn: 48}
)

// verify holds a structure at a place in the volume, in bytes, against its
// seal. In version 4 there is none.
func (f *FS) verify(b buffer, s seal, off int64) error {
	switch {
	case !f.sb.v5:
		return nil
	case [16]byte(b.data[s.uuid:]) != f.sb.metaUUID:
		return guest.Corrupt("xfs %s at byte %d: it is another filesystem's", s.name, off)
	case be.Uint64(b.data[s.place:]) != uint64(off)/sector:
		return guest.Corrupt("xfs %s at byte %d: it says that it lies at sector %d", s.name, off, be.Uint64(b.data[s.place:]))
	case !f.sumOK(b, s.sum):
		return guest.Corrupt("xfs %s at byte %d: its checksum is wrong", s.name, off)
	}
	return nil
}
