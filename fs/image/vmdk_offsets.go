package image

// VMDK geometry (VMware, Virtual Disk Format 5.0, "Hosted Sparse Extents").
// This must not change: the same version gives the same bytes for ever.
const (
	vmdkHeaderLen     = 512
	vmdkDescriptorOff = 512
	vmdkDescriptorLen = 20 * sectorSize
	vmdkTablesOff     = int64(64) << 10 // the first grain is header and descriptor
	vmdkGrain         = int64(Grain)
	vmdkEntry         = 4   // bytes of a grain directory or grain table entry: a sector offset
	vmdkGTEs          = 512 // entries of a grain table
	vmdkGrainTable    = vmdkGTEs * vmdkEntry
	vmdkGTsOfSpan     = int64(Span) / (vmdkGTEs * vmdkGrain) // 16
	vmdkSpanTables    = vmdkGTsOfSpan * vmdkGrainTable       // 32 KiB
)

// vmdkLayout is where the parts of a monolithicSparse VMDK lie, in bytes. The
// tables are there twice, as VMware writes them: first the redundant ones.
//
//	0        sparse extent header
//	512      descriptor, text, zero-padded
//	rgdOff   redundant grain directory: the sector of each grain table, or 0
//	rgtOff   its grain tables, sixteen for each allocated span
//	gdOff    grain directory
//	gtOff    grain tables
//	dataOff  allocated grains of 64 KiB, in order
//	size     end
type vmdkLayout struct {
	virtualSize int64
	gdEntries   int64

	rgdOff, rgtOff, gdOff, gtOff, dataOff, size int64
}

// layoutVMDK lays out a file for a disk of size bytes with spans and grains
// allocated.
func layoutVMDK(size, spans, grains int64) vmdkLayout {
	l := vmdkLayout{
		virtualSize: roundUp(size, sectorSize),
		gdEntries:   ceilDiv(size, vmdkGTEs*vmdkGrain),
		rgdOff:      vmdkTablesOff,
	}
	gdLen := roundUp(l.gdEntries*vmdkEntry, pageSize)
	l.rgtOff = l.rgdOff + gdLen
	l.gdOff = l.rgtOff + spans*vmdkSpanTables
	l.gtOff = l.gdOff + gdLen
	l.dataOff = roundUp(l.gtOff+spans*vmdkSpanTables, vmdkGrain)
	l.size = l.dataOff + grains*vmdkGrain
	return l
}

// vmdkAddresses reports whether 32-bit sector offsets reach all of a file for
// a disk of size bytes, at most maxVMDK, with grains allocated. It takes the
// most spans that so many grains can lie in, so that it needs no second count.
func vmdkAddresses(size, grains int64) bool {
	grains = min(grains, ceilDiv(size, vmdkGrain))
	spans := min(grains, ceilDiv(size, int64(Span)))
	return layoutVMDK(size, spans, grains).size <= 1<<32*sectorSize
}
