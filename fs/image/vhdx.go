package image

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"
)

// vhdxPresent is the state PAYLOAD_BLOCK_FULLY_PRESENT. An entry of 0 is
// PAYLOAD_BLOCK_NOT_PRESENT, which without a parent reads as zeros.
const vhdxPresent = 6

// Lengths of the structures that headers and checksums cover.
const (
	vhdxHeaderLen = 4 << 10
	vhdxRegionLen = 64 << 10
	vhdxIdentLen  = 520 // signature, 512 bytes of creator
	vhdxCreator   = "holdfast"
)

var vhdxCRC = crc32.MakeTable(crc32.Castagnoli)

// areasVHDX makes a dynamic VHDX up: 2 MiB blocks, 512-byte sectors, an empty
// log, blocks of which nothing is stored absent. It holds at most 64 TiB.
//
// Source: [MS-VHDX] 2.2 "Header Section" to 2.6 "Metadata Region".
func areasVHDX(d Disk, id Identity) []area {
	blocks := unitsOf(d, Block)
	l := layoutVHDX(d.Size(), blocks.count)
	guid := vhdxGUID(id.UUID)
	regions := func() []byte { return vhdxRegions(l) }
	return []area{
		blob(vhdxIdentOff, vhdxIdentLen, vhdxIdent),
		blob(vhdxHeader1Off, vhdxHeaderLen, func() []byte { return vhdxHeader(1, guid) }),
		blob(vhdxHeader2Off, vhdxHeaderLen, func() []byte { return vhdxHeader(2, guid) }),
		blob(vhdxRegion1Off, vhdxRegionUsed, regions),
		blob(vhdxRegion2Off, vhdxRegionUsed, regions),
		blob(vhdxMetadataOff, vhdxMetaTableUsed, vhdxMetaTable),
		blob(vhdxMetadataOff+vhdxMetaItemsOff, vhdxMetaItemsLen, func() []byte { return vhdxMetaItems(l, guid) }),
		l.bat(blocks).area(vhdxBatOff),
		unitData(l.dataOff, blocks, 0, 0),
	}
}

// sizesVHDX returns the file's size and its AllocatedBytes.
func sizesVHDX(d Disk) (size, allocated int64) {
	blocks := d.Count(Block)
	l := layoutVHDX(d.Size(), blocks)
	return l.size, 7*pageSize + touched(l.batEntries*vhdxBatEntry, blocks) + d.DataBytes()
}

// vhdxIdent is the file type identifier: "vhdxfile" and the creator in UTF-16.
func vhdxIdent() []byte {
	p := make([]byte, vhdxIdentLen)
	copy(p, "vhdxfile")
	for i, u := range utf16.Encode([]rune(vhdxCreator)) {
		binary.LittleEndian.PutUint16(p[8+2*i:], u)
	}
	return p
}

// vhdxHeader is one of the two headers; the higher sequence number counts.
//
//	 0 signature "head"  4 CRC-32C of 4 KiB   8 sequence number
//	16 file write GUID  32 data write GUID   48 log GUID: 0, nothing to replay
//	64 log version 0    66 version 1         68 log length   72 log offset
func vhdxHeader(sequence uint64, guid [16]byte) []byte {
	p := make([]byte, vhdxHeaderLen)
	le := binary.LittleEndian
	copy(p, "head")
	le.PutUint64(p[8:], sequence)
	copy(p[16:], guid[:])
	copy(p[32:], guid[:])
	le.PutUint16(p[66:], 1)
	le.PutUint32(p[68:], uint32(vhdxLogLen))
	le.PutUint64(p[72:], uint64(vhdxLogOff))
	le.PutUint32(p[4:], crc32.Checksum(p, vhdxCRC))
	return p
}

// bat is the block allocation table up to its last payload entry. Sector
// bitmap entries, one after each 2048 payload entries, are 0 without a parent.
// An entry is the state in bits 0-2 and the offset in MiB from bit 20 on,
// which is the offset in bytes, as it is a multiple of 1 MiB.
func (l vhdxLayout) bat(blocks units) *table {
	return &table{
		width: vhdxBatEntry,
		count: l.batEntries,
		next: func(ctx context.Context, e int64) (int64, error) {
			n, err := blocks.next(ctx, vhdxBlockAt(e))
			return min(vhdxSlot(n), l.batEntries), err
		},
		fill: func(ctx context.Context, p []byte, from, to int64) error {
			return blocks.each(ctx, vhdxBlockAt(from), vhdxBlockAt(to), func(n, rank int64) {
				entry := uint64(l.dataOff+rank*vhdxBlock) | vhdxPresent
				binary.LittleEndian.PutUint64(p[(vhdxSlot(n)-from)*vhdxBatEntry:], entry)
			})
		},
	}
}
