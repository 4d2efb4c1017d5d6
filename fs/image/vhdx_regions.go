package image

import (
	"encoding/binary"
	"hash/crc32"
)

// A region table is 64 KiB with room for 2047 entries; two are used, and its
// checksum covers all of it.
const (
	vhdxRegionHead  = 16
	vhdxRegionEntry = 32
	vhdxRegionUsed  = vhdxRegionHead + 2*vhdxRegionEntry
	vhdxRequired    = 1 // of a region
)

// Metadata: a table of 64 KiB, then the items themselves.
const (
	vhdxMetaHead      = 32
	vhdxMetaEntry     = 32
	vhdxMetaTableUsed = vhdxMetaHead + 5*vhdxMetaEntry
	vhdxMetaItemsOff  = 64 << 10
	vhdxMetaItemsLen  = 8 + 8 + 16 + 4 + 4

	vhdxOfDisk       = 2 // IsVirtualDisk
	vhdxItemRequired = 4 // IsRequired
)

// GUIDs that [MS-VHDX] 2.2.3.2 and 2.6.2 fix, in their textual order.
var (
	vhdxBatGUID      = [16]byte{0x2d, 0xc2, 0x77, 0x66, 0xf6, 0x23, 0x42, 0x00, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}
	vhdxMetadataGUID = [16]byte{0x8b, 0x7c, 0xa2, 0x06, 0x47, 0x90, 0x4b, 0x9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}

	vhdxFileParameters = [16]byte{0xca, 0xa1, 0x67, 0x37, 0xfa, 0x36, 0x4d, 0x43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}
	vhdxDiskSize       = [16]byte{0x2f, 0xa5, 0x42, 0x24, 0xcd, 0x1b, 0x48, 0x76, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}
	vhdxDiskID         = [16]byte{0xbe, 0xca, 0x12, 0xab, 0xb2, 0xe6, 0x45, 0x23, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46}
	vhdxLogicalSector  = [16]byte{0x81, 0x41, 0xbf, 0x1d, 0xa9, 0x6f, 0x47, 0x09, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f}
	vhdxPhysicalSector = [16]byte{0xcd, 0xa3, 0x48, 0xc7, 0x44, 0x5d, 0x44, 0x71, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56}
)

// vhdxGUID turns 16 bytes in textual order into a GUID as it lies on disk:
// its first three fields are little-endian.
func vhdxGUID(u [16]byte) [16]byte {
	u[0], u[1], u[2], u[3] = u[3], u[2], u[1], u[0]
	u[4], u[5] = u[5], u[4]
	u[6], u[7] = u[7], u[6]
	return u
}

// vhdxRegions is the used start of a region table.
//
//	0 signature "regi"  4 CRC-32C of 64 KiB  8 entries 2  12 reserved
//	per entry: 0 GUID  16 file offset  24 length  28 required
func vhdxRegions(l vhdxLayout) []byte {
	p := make([]byte, vhdxRegionUsed, vhdxRegionLen)
	le := binary.LittleEndian
	copy(p, "regi")
	le.PutUint32(p[8:], 2)
	put := func(e []byte, guid [16]byte, off, length int64) {
		guid = vhdxGUID(guid)
		copy(e, guid[:])
		le.PutUint64(e[16:], uint64(off))
		le.PutUint32(e[24:], uint32(length))
		le.PutUint32(e[28:], vhdxRequired)
	}
	put(p[vhdxRegionHead:], vhdxBatGUID, vhdxBatOff, l.batLen)
	put(p[vhdxRegionHead+vhdxRegionEntry:], vhdxMetadataGUID, vhdxMetadataOff, vhdxMetadataLen)
	le.PutUint32(p[4:], crc32.Checksum(p[:vhdxRegionLen], vhdxCRC))
	return p
}

// vhdxMetaTable is the used start of the metadata table.
//
//	0 signature "metadata"  8 reserved  10 entries 5  12 reserved
//	per entry: 0 item GUID  16 offset in the region  20 length  24 flags
func vhdxMetaTable() []byte {
	p := make([]byte, vhdxMetaTableUsed)
	le := binary.LittleEndian
	copy(p, "metadata")
	e, off := p[vhdxMetaHead:], uint32(vhdxMetaItemsOff)
	put := func(guid [16]byte, length, flags uint32) {
		guid = vhdxGUID(guid)
		copy(e, guid[:])
		le.PutUint32(e[16:], off)
		le.PutUint32(e[20:], length)
		le.PutUint32(e[24:], flags)
		e, off = e[vhdxMetaEntry:], off+length
	}
	put(vhdxFileParameters, 8, vhdxItemRequired)
	put(vhdxDiskSize, 8, vhdxItemRequired|vhdxOfDisk)
	put(vhdxDiskID, 16, vhdxItemRequired|vhdxOfDisk)
	put(vhdxLogicalSector, 4, vhdxItemRequired|vhdxOfDisk)
	put(vhdxPhysicalSector, 4, vhdxItemRequired|vhdxOfDisk)
	le.PutUint16(p[10:], 5)
	return p
}

// vhdxMetaItems is the items in the table's order: block size and flags (no
// parent, blocks not fixed), virtual size, disk id, both sector sizes. The
// physical sector is 512 too, as no other divides every disk.
func vhdxMetaItems(l vhdxLayout, guid [16]byte) []byte {
	le := binary.LittleEndian
	p := make([]byte, 0, vhdxMetaItemsLen)
	p = le.AppendUint32(p, uint32(vhdxBlock))
	p = le.AppendUint32(p, 0)
	p = le.AppendUint64(p, uint64(l.virtualSize))
	p = append(p, guid[:]...)
	p = le.AppendUint32(p, sectorSize)
	return le.AppendUint32(p, sectorSize)
}
