package image

// VHD geometry (Microsoft, Virtual Hard Disk Image Format Specification 1.0,
// October 2006). This must not change: the same version gives the same bytes
// for ever.
const (
	vhdFooterLen = 512
	vhdHeaderLen = 1024
	vhdHeaderOff = vhdFooterLen                // after the copy of the footer
	vhdBatOff    = vhdHeaderOff + vhdHeaderLen // 1536
	vhdBatEntry  = 4
	vhdBlock     = int64(Block)
	vhdBitmap    = vhdBlock / sectorSize / 8 // one bit a sector: one sector
	// vhdLead comes before the data of each block and ends with its bitmap.
	// It is a page, so that the data is aligned and a guest's page is one
	// page of the file; XenServer lays its blocks out so too.
	vhdLead   = pageSize
	vhdStride = vhdLead + vhdBlock
)

// vhdLayout is where the parts of a dynamic VHD lie, in bytes:
//
//	0          copy of the footer
//	512        dynamic disk header
//	1536       block allocation table: the first sector of each block, or all ones
//	batEnd     zeros up to a whole page
//	dataOff    allocated blocks, in order: zeros, a sector of bitmap, 2 MiB of data
//	footerOff  footer
//	size       end
type vhdLayout struct {
	virtualSize int64
	blocks      int64 // of the disk: entries of the table

	batEnd, dataOff, footerOff, size int64
}

// layoutVHD lays out a file for a disk of size bytes with blocks allocated.
func layoutVHD(size, allocated int64) vhdLayout {
	l := vhdLayout{
		virtualSize: roundUp(size, sectorSize),
		blocks:      ceilDiv(size, vhdBlock),
	}
	l.batEnd = vhdBatOff + roundUp(l.blocks*vhdBatEntry, sectorSize)
	l.dataOff = roundUp(l.batEnd, pageSize)
	l.footerOff = l.dataOff + allocated*vhdStride
	l.size = l.footerOff + vhdFooterLen
	return l
}

// blockSector is the sector of the bitmap of the block of that rank: what the
// table holds. 2040 GiB of blocks end before sector 2^32.
func (l vhdLayout) blockSector(rank int64) uint32 {
	return uint32((l.dataOff + rank*vhdStride + vhdLead - vhdBitmap) / sectorSize)
}

// vhdGeometry is cylinders, heads and sectors a track for a disk of that many
// sectors, as the specification's appendix "CHS Calculation" has it. It may
// name fewer sectors than there are.
func vhdGeometry(sectors int64) (cylinders uint16, heads, perTrack uint8) {
	sectors = min(sectors, 65535*16*255)
	if sectors >= 65535*16*63 {
		return uint16(sectors / 255 / 16), 16, 255
	}
	s := int64(17)
	h := max((sectors/s+1023)/1024, 4)
	if sectors/s >= h*1024 || h > 16 {
		h, s = 16, 31
	}
	if sectors/s >= h*1024 {
		h, s = 16, 63
	}
	return uint16(sectors / s / h), uint8(h), uint8(s)
}
