package image

import (
	"context"
	"encoding/binary"
	"time"
)

// Field values of footer and header.
const (
	vhdDynamic = 3
	vhdVersion = 0x00010000
	vhdUnused  = 0xffffffff // of a table entry
	// vhdCreator says who made the file, and by that what its size is:
	// qemu (block/vpc.c) takes cylinders × heads × sectors, which is less
	// than the disk, unless it knows the creator as one that means the
	// footer's current size. "win " is Hyper-V's own mark, known to every
	// qemu that makes the distinction; Hyper-V and Azure always take the
	// current size. So all of them see the exact disk.
	vhdCreator        = "win "
	vhdCreatorVersion = 0x000a0000
	vhdCreatorHost    = "Wi2k"
)

// vhdEpoch is where VHD times begin.
var vhdEpoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// areasVHD makes a dynamic VHD up: 2 MiB blocks, bitmaps all ones (every sector
// of an allocated block is in the file), blocks of which nothing is stored
// absent. It holds at most 2040 GiB.
//
// Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0,
// "Hard Disk Footer Format" to "Block Allocation Table and Data Blocks".
func areasVHD(d Disk, id Identity) []area {
	blocks := unitsOf(d, Block)
	l := layoutVHD(d.Size(), blocks.count)
	footer := func() []byte { return l.footer(id) }
	return []area{
		blob(0, vhdFooterLen, footer),
		blob(vhdHeaderOff, vhdHeaderLen, l.header),
		l.bat(blocks).area(vhdBatOff),
		unitData(l.dataOff, blocks, vhdLead, vhdBitmap),
		blob(l.footerOff, vhdFooterLen, footer),
	}
}

// sizesVHD returns the file's size and its AllocatedBytes.
func sizesVHD(d Disk) (size, allocated int64) {
	blocks := d.Count(Block)
	l := layoutVHD(d.Size(), blocks)
	return l.size, l.batEnd + blocks*vhdLead + vhdFooterLen + d.DataBytes()
}

// footer is the hard disk footer.
//
//	 0 cookie "conectix"   8 features 2         12 format version 1.0
//	16 dynamic header at  24 time, s of 2000    28 creator application
//	32 creator version    36 creator host       40 original size
//	48 current size       56 geometry C(2) H S  60 disk type 3
//	64 checksum           68 UUID               84 saved state 0
func (l vhdLayout) footer(id Identity) []byte {
	p := make([]byte, vhdFooterLen)
	be := binary.BigEndian
	copy(p, "conectix")
	be.PutUint32(p[8:], 2) // a reserved bit that must be set
	be.PutUint32(p[12:], vhdVersion)
	be.PutUint64(p[16:], vhdHeaderOff)
	be.PutUint32(p[24:], vhdTime(id.Time))
	copy(p[28:], vhdCreator)
	be.PutUint32(p[32:], vhdCreatorVersion)
	copy(p[36:], vhdCreatorHost)
	be.PutUint64(p[40:], uint64(l.virtualSize))
	be.PutUint64(p[48:], uint64(l.virtualSize))
	c, h, s := vhdGeometry(l.virtualSize / sectorSize)
	be.PutUint16(p[56:], c)
	p[58], p[59] = h, s
	be.PutUint32(p[60:], vhdDynamic)
	copy(p[68:], id.UUID[:])
	be.PutUint32(p[64:], vhdChecksum(p))
	return p
}

// header is the dynamic disk header.
//
//	 0 cookie "cxsparse"   8 next structure: none  16 table offset
//	24 header version 1.0 28 table entries         32 block size
//	36 checksum           40 parent's fields, all 0
func (l vhdLayout) header() []byte {
	p := make([]byte, vhdHeaderLen)
	be := binary.BigEndian
	copy(p, "cxsparse")
	be.PutUint64(p[8:], 0xffffffffffffffff)
	be.PutUint64(p[16:], vhdBatOff)
	be.PutUint32(p[24:], vhdVersion)
	be.PutUint32(p[28:], uint32(l.blocks))
	be.PutUint32(p[32:], uint32(vhdBlock))
	be.PutUint32(p[36:], vhdChecksum(p))
	return p
}

// bat is the block allocation table and what fills its last sector.
func (l vhdLayout) bat(blocks units) *table {
	return &table{
		width: vhdBatEntry,
		count: (l.batEnd - vhdBatOff) / vhdBatEntry,
		blank: vhdUnused & 0xff,
		fill: func(ctx context.Context, p []byte, from, to int64) error {
			return blocks.each(ctx, from, to, func(n, rank int64) {
				binary.BigEndian.PutUint32(p[(n-from)*vhdBatEntry:], l.blockSector(rank))
			})
		},
	}
}

// vhdChecksum is the ones' complement of the sum of all bytes, the checksum
// field being 0.
func vhdChecksum(p []byte) uint32 {
	var sum uint32
	for _, b := range p {
		sum += uint32(b)
	}
	return ^sum
}

// vhdTime is t as VHD has it, at the epoch or the last second where it can't
// be said.
func vhdTime(t time.Time) uint32 {
	return uint32(min(max(t.Unix()-vhdEpoch.Unix(), 0), 0xffffffff))
}
