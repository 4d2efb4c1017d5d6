package image

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Flags of the header: line ends can be checked; redundant tables are there.
const vmdkFlags = 1 | 2

// areasVMDK makes a monolithicSparse VMDK of version 1 up: 64 KiB grains, the
// descriptor inside, redundant tables; grains and whole spans of which nothing
// is stored have entries of 0 and read as zeros. It is absent where its sector
// offsets would need more than 32 bits: a bit below 2 TiB of stored data.
//
// Source: VMware, Virtual Disk Format 5.0, "Hosted Sparse Extents" and "The
// Descriptor File".
func areasVMDK(d Disk, id Identity) []area {
	spans, grains := unitsOf(d, Span), unitsOf(d, Grain)
	l := layoutVMDK(d.Size(), spans.count, grains.count)
	grainTables := func() *table {
		return spanTables(d, vmdkEntry, func(p []byte, rank int64) {
			binary.LittleEndian.PutUint32(p, uint32((l.dataOff+rank*vmdkGrain)/sectorSize))
		})
	}
	return []area{
		blob(0, vmdkHeaderLen, l.header),
		blob(vmdkDescriptorOff, vmdkDescriptorLen, func() []byte { return l.descriptor(id) }),
		l.directory(spans, l.rgtOff).area(l.rgdOff),
		grainTables().area(l.rgtOff),
		l.directory(spans, l.gtOff).area(l.gdOff),
		grainTables().area(l.gtOff),
		unitData(l.dataOff, grains, 0, 0),
	}
}

// sizesVMDK returns the file's size and its AllocatedBytes.
func sizesVMDK(d Disk) (size, allocated int64) {
	spans := d.Count(Span)
	l := layoutVMDK(d.Size(), spans, d.Count(Grain))
	return l.size, vmdkDescriptorOff + vmdkDescriptorLen +
		2*(touched(l.gdEntries*vmdkEntry, spans)+spans*vmdkSpanTables) + d.DataBytes()
}

// header is the sparse extent header; offsets and sizes are in sectors.
//
//	 0 magic "KDMV"      4 version 1             8 flags
//	12 capacity         20 grain size 128       28 descriptor offset
//	36 its size         44 entries of a GT 512  48 redundant GD  56 GD
//	64 overhead: where the grains begin         72 unclean shutdown 0
//	73 "\n", " ", "\r\n": spoilt by a transfer as text   77 compression 0
func (l vmdkLayout) header() []byte {
	p := make([]byte, vmdkHeaderLen)
	le := binary.LittleEndian
	copy(p, "KDMV")
	le.PutUint32(p[4:], 1)
	le.PutUint32(p[8:], vmdkFlags)
	le.PutUint64(p[12:], uint64(l.virtualSize/sectorSize))
	le.PutUint64(p[20:], uint64(vmdkGrain/sectorSize))
	le.PutUint64(p[28:], vmdkDescriptorOff/sectorSize)
	le.PutUint64(p[36:], vmdkDescriptorLen/sectorSize)
	le.PutUint32(p[44:], vmdkGTEs)
	le.PutUint64(p[48:], uint64(l.rgdOff/sectorSize))
	le.PutUint64(p[56:], uint64(l.gdOff/sectorSize))
	le.PutUint64(p[64:], uint64(l.dataOff/sectorSize))
	copy(p[73:], "\n \r\n")
	return p
}

// vmdkDescriptor takes content id, sectors, cylinders, UUID. The extent's file
// name is only read where the descriptor is a file of its own; here it is a
// fixed word, because an image does not know its name.
const vmdkDescriptor = `# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
ddb.uuid = "%s"
`

// descriptor is the text, zero-padded.
func (l vmdkLayout) descriptor(id Identity) []byte {
	cid := binary.BigEndian.Uint32(id.UUID[:])
	if cid >= 0xfffffffe { // reserved: "no parent" and its neighbour
		cid = 0xfffffffd
	}
	sectors := l.virtualSize / sectorSize
	uuid := fmt.Sprintf("% x-% x", id.UUID[:8], id.UUID[8:])
	p := make([]byte, vmdkDescriptorLen)
	copy(p, fmt.Sprintf(vmdkDescriptor, cid, sectors, sectors/(255*63), uuid))
	return p
}

// directory is a grain directory whose grain tables begin at tables. Each
// allocated span has its sixteen, one after another.
func (l vmdkLayout) directory(spans units, tables int64) *table {
	return &table{
		width: vmdkEntry,
		count: l.gdEntries,
		next: func(ctx context.Context, e int64) (int64, error) {
			s, err := spans.next(ctx, e/vmdkGTsOfSpan)
			return min(max(e, s*vmdkGTsOfSpan), l.gdEntries), err
		},
		fill: func(ctx context.Context, p []byte, from, to int64) error {
			first, last := from/vmdkGTsOfSpan, ceilDiv(to, vmdkGTsOfSpan)
			return spans.each(ctx, first, last, func(n, rank int64) {
				for e := max(from, n*vmdkGTsOfSpan); e < min(to, (n+1)*vmdkGTsOfSpan); e++ {
					gt := tables + rank*vmdkSpanTables + e%vmdkGTsOfSpan*vmdkGrainTable
					binary.LittleEndian.PutUint32(p[(e-from)*vmdkEntry:], uint32(gt/sectorSize))
				}
			})
		},
	}
}
