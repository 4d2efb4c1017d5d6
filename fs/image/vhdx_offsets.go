package image

// VHDX geometry ([MS-VHDX] 2.1 to 2.6). This must not change: the same
// version gives the same bytes for ever.
const (
	vhdxMiB         = int64(1) << 20
	vhdxIdentOff    = int64(0)
	vhdxHeader1Off  = int64(64) << 10
	vhdxHeader2Off  = int64(128) << 10
	vhdxRegion1Off  = int64(192) << 10
	vhdxRegion2Off  = int64(256) << 10
	vhdxLogOff      = 1 * vhdxMiB
	vhdxLogLen      = vhdxMiB
	vhdxMetadataOff = vhdxLogOff + vhdxLogLen
	vhdxMetadataLen = vhdxMiB
	vhdxBatOff      = vhdxMetadataOff + vhdxMetadataLen
	vhdxBatEntry    = 8
	vhdxBlock       = int64(Block)
	// vhdxChunk is the chunk ratio: how many payload entries come before
	// each sector bitmap entry, 2^23 × sector size / block size.
	vhdxChunk = (int64(1) << 23) * sectorSize / vhdxBlock
)

// vhdxLayout is where the parts of a dynamic VHDX lie, in bytes:
//
//	0        file type identifier
//	64 KiB   header 1        128 KiB  header 2
//	192 KiB  region table 1  256 KiB  region table 2
//	1 MiB    log, empty
//	2 MiB    metadata
//	3 MiB    block allocation table, whole MiB
//	dataOff  allocated blocks of 2 MiB, in order
//	size     end
type vhdxLayout struct {
	virtualSize int64
	batEntries  int64
	batLen      int64 // of the region: whole MiB

	dataOff, size int64
}

// layoutVHDX lays out a file for a disk of size bytes with blocks allocated.
func layoutVHDX(size, allocated int64) vhdxLayout {
	blocks := ceilDiv(size, vhdxBlock)
	l := vhdxLayout{
		virtualSize: roundUp(size, sectorSize),
		batEntries:  vhdxSlot(blocks-1) + 1, // [MS-VHDX] 2.5: no bitmap entry after the last payload entry
	}
	l.batLen = roundUp(l.batEntries*vhdxBatEntry, vhdxMiB)
	l.dataOff = vhdxBatOff + l.batLen
	l.size = l.dataOff + allocated*vhdxBlock
	return l
}

// vhdxSlot is the table entry of block n: one sector bitmap entry comes after
// each chunk of payload entries.
func vhdxSlot(n int64) int64 { return n + n/vhdxChunk }

// vhdxBlockAt is the first block whose table entry is e or after it.
func vhdxBlockAt(e int64) int64 {
	return e/(vhdxChunk+1)*vhdxChunk + min(e%(vhdxChunk+1), vhdxChunk)
}
