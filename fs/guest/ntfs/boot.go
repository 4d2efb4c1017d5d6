package ntfs

import (
	"encoding/binary"
	"math/bits"

	"holdfast/fs/guest"
)

var le = binary.LittleEndian

const (
	bootLen        = 512
	bootMagic      = "NTFS    "
	minSector      = 512
	maxSector      = 4096
	maxCluster     = 2 << 20
	minRecord      = 512
	maxRecord      = 4096
	strideLen      = 512 // between the places of an update sequence, whatever the sector
	maxVolumeBytes = 1 << 62
)

// geometry is what the reader needs of the boot sector ($Boot, BIOS parameter
// block):
//
//	3 "NTFS    "  11 bytes in a sector 2  13 sectors in a cluster 1
//	40 sectors 8  48 cluster of $MFT 8  56 cluster of $MFTMirr 8
//	64 clusters in a file record 1  72 serial number 8
//
// A count of sectors above 128 and one of clusters below 0 are negative powers
// of two: of sectors and of bytes.
type geometry struct {
	sectorSize, clusterSize, recordSize int64
	clusterLog                          uint
	clusters                            int64
	mft, mirror                         int64 // clusters
	serial                              uint64
}

// parseBoot reads the boot sector of a volume of size bytes.
func parseBoot(b []byte, size int64) (geometry, error) {
	if len(b) < bootLen || string(b[3:11]) != bootMagic {
		return geometry{}, guest.ErrNotMine
	}
	g := geometry{
		sectorSize: int64(le.Uint16(b[11:])), serial: le.Uint64(b[72:]),
		mft: int64(le.Uint64(b[48:])), mirror: int64(le.Uint64(b[56:])),
	}
	perCluster := int64(b[13])
	if perCluster > 0x80 {
		perCluster = 1 << min(62, 256-perCluster)
	}
	if !power(g.sectorSize, minSector, maxSector) || !power(perCluster, 1, maxCluster/g.sectorSize) {
		return g, guest.Corrupt("ntfs boot sector: clusters of %d sectors of %d bytes", perCluster, g.sectorSize)
	}
	g.clusterSize = g.sectorSize * perCluster
	g.clusterLog = uint(bits.TrailingZeros64(uint64(g.clusterSize)))
	g.recordSize = int64(int8(b[64])) * g.clusterSize
	if int8(b[64]) < 0 {
		g.recordSize = 1 << min(62, -int(int8(b[64])))
	}
	if !power(g.recordSize, minRecord, maxRecord) {
		return g, guest.Corrupt("ntfs boot sector: file records of %d bytes", g.recordSize)
	}
	sectors := le.Uint64(b[40:])
	if sectors > uint64(size/g.sectorSize) {
		return g, guest.Corrupt("ntfs boot sector: %d sectors of %d bytes in a volume of %d bytes; is the volume cut off?", sectors, g.sectorSize, size)
	}
	g.clusters = int64(sectors) / perCluster
	if g.mft <= 0 || g.mft >= g.clusters {
		return g, guest.Corrupt("ntfs boot sector: $MFT at cluster %d of %d", g.mft, g.clusters)
	}
	return g, nil
}

func power(n, low, high int64) bool { return n >= low && n <= high && n&(n-1) == 0 }

// place is the byte at which a cluster lies.
func (g *geometry) place(cluster int64) int64 { return cluster << g.clusterLog }

// clustersOf is how many clusters n bytes need; n is at most 2^62.
func (g *geometry) clustersOf(n int64) int64 { return (n + g.clusterSize - 1) >> g.clusterLog }
