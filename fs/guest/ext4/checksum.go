package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// crc32c continues a checksum as the kernel does: seeded with ^0 by the first
// caller, and never inverted.
func crc32c(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// crc32cNumber continues a checksum over a little-endian number. It goes by
// the table: a slice of four bytes would be made anew for each call.
func crc32cNumber(sum, n uint32) uint32 {
	for range 4 {
		sum = castagnoli[byte(sum)^byte(n)] ^ sum>>8
		n >>= 8
	}
	return sum
}

// crc32cZeros continues a checksum over n zero bytes: the place of the
// checksum itself in what it covers.
func crc32cZeros(sum uint32, n int) uint32 {
	for range n {
		sum = castagnoli[byte(sum)] ^ sum>>8
	}
	return sum
}

// crc16 is CRC-16/ARC, the older checksum of group descriptors.
func crc16(seed uint16, p []byte) uint16 {
	for _, b := range p {
		seed ^= uint16(b)
		for range 8 {
			seed = seed>>1 ^ 0xa001*(seed&1)
		}
	}
	return seed
}

// crc32Table is for the big-endian CRC-32 of a journal's oldest checksums.
var crc32Table = func() (table [256]uint32) {
	for i := range table {
		sum := uint32(i) << 24
		for range 8 {
			sum = sum<<1 ^ 0x04c11db7*(sum>>31)
		}
		table[i] = sum
	}
	return table
}()

// crc32BigEndian continues a CRC-32 that shifts left, without inversions.
func crc32BigEndian(sum uint32, p []byte) uint32 {
	for _, b := range p {
		sum = sum<<8 ^ crc32Table[byte(sum>>24)^b]
	}
	return sum
}
