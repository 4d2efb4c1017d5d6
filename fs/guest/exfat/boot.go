package exfat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

var le = binary.LittleEndian

// geometry is what the boot sector tells (3.1):
//
//	3 "EXFAT   "  72 sectors 8  80 FAT's sector 4  84 its sectors 4
//	88 sector of the clusters 4  92 clusters 4  96 root's cluster 4
//	100 serial number 4  104 version 2  106 flags 2  108 log2 of the sector 1
//	109 log2 of sectors in a cluster 1  110 FATs 1
type geometry struct {
	sector, cluster   int64 // bytes
	clusters          uint32
	tableAt, tableLen int64
	heapAt            int64 // of cluster 2
	root              uint32
	size              int64
	second            bool // the second FAT and bitmap count
	dirty             bool
	id                string
}

const (
	bootLen      = 512
	entryLen     = 32
	firstCluster = 2
	bootSectors  = 12 // of the region; the last one holds the checksum
	maxClusters  = 0xfffffff5
)

// readBoot reads the boot region, or its backup where it is damaged.
func readBoot(ctx context.Context, v guest.Volume, lax bool) (*geometry, string, error) {
	g, first := readRegion(ctx, v, 0, lax)
	if first == nil || ctx.Err() != nil || errors.Is(first, guest.ErrUnsupported) {
		return g, "", errors.Join(first, ctx.Err())
	}
	for log := 9; log <= 12; log++ { // a damaged one does not tell the sector
		g, err := readRegion(ctx, v, bootSectors<<log, lax)
		if err == nil && g.sector == 1<<log {
			return g, "the boot region is damaged, its backup is used", nil
		}
	}
	return nil, "", first
}

func readRegion(ctx context.Context, v guest.Volume, at int64, lax bool) (*geometry, error) {
	if v.Size() < at+bootLen {
		return nil, guest.ErrNotMine
	}
	b := make([]byte, bootLen)
	if err := guest.ReadFull(ctx, v, b, at); err != nil {
		return nil, err
	}
	if string(b[3:11]) != "EXFAT   " || b[510] != 0x55 || b[511] != 0xaa || b[108] < 9 || b[108] > 12 {
		return nil, guest.ErrNotMine
	}
	region := make([]byte, bootSectors<<b[108])
	if err := guest.ReadFull(ctx, v, region, at); err != nil {
		return nil, err
	}
	sums := len(region) / bootSectors * (bootSectors - 1)
	if !lax && le.Uint32(region[sums:]) != bootSum(region[:sums]) {
		return nil, guest.Corrupt("exfat: the checksum of the boot region at byte %d is wrong", at)
	}
	return parseBoot(b, v.Size())
}

// bootSum is the checksum of the boot region without what changes (3.4).
func bootSum(b []byte) (sum uint32) {
	for i, c := range b {
		if i == 106 || i == 107 || i == 112 {
			continue
		}
		sum = sum>>1 + sum<<31 + uint32(c)
	}
	return sum
}

// parseBoot reads the boot sector of a volume of size bytes.
func parseBoot(b []byte, size int64) (*geometry, error) {
	if version := le.Uint16(b[104:]); version>>8 != 1 {
		return nil, fmt.Errorf("exFAT of version %d.%d: %w", version>>8, version&0xff, guest.ErrUnsupported)
	}
	if b[108]+b[109] > 25 {
		return nil, guest.Corrupt("exfat: clusters of 2^%d bytes", int(b[108])+int(b[109]))
	}
	g := &geometry{sector: 1 << b[108], cluster: 1 << (b[108] + b[109]), clusters: le.Uint32(b[92:]), root: le.Uint32(b[96:])}
	flags, tables := le.Uint16(b[106:]), int64(b[110])
	g.tableAt, g.tableLen = int64(le.Uint32(b[80:]))*g.sector, int64(le.Uint32(b[84:]))*g.sector
	g.heapAt = int64(le.Uint32(b[88:])) * g.sector
	g.dirty = flags&2 != 0
	g.id = fmt.Sprintf("%04X-%04X", le.Uint16(b[102:]), le.Uint16(b[100:]))
	sectors := le.Uint64(b[72:])
	switch {
	case sectors > 1<<50:
		return nil, guest.Corrupt("exfat: %d sectors", sectors)
	case int64(sectors)*g.sector > size:
		return nil, guest.Corrupt("exfat: %d bytes in a volume of %d; is it cut off?", int64(sectors)*g.sector, size)
	}
	g.size = int64(sectors) * g.sector
	if flags&1 != 0 && tables == 2 {
		g.second, g.tableAt = true, g.tableAt+g.tableLen
	}
	switch {
	case tables < 1 || tables > 2 || g.clusters == 0 || g.clusters > maxClusters,
		g.tableAt < 2*bootSectors*g.sector || g.tableLen < (int64(g.clusters)+firstCluster)*4 || g.tableAt+g.tableLen > g.heapAt,
		g.heapAt > g.size || int64(g.clusters) > (g.size-g.heapAt)/g.cluster:
		return nil, guest.Corrupt("exfat: %d clusters from byte %d on, a FAT of %d bytes at %d", g.clusters, g.heapAt, g.tableLen, g.tableAt)
	case !g.has(g.root):
		return nil, guest.Corrupt("exfat: the root begins with cluster %d of %d", g.root, g.clusters)
	}
	return g, nil
}

func (g *geometry) has(cluster uint32) bool {
	return cluster >= firstCluster && cluster-firstCluster < g.clusters
}

// place gives where a cluster lies.
func (g *geometry) place(cluster uint32) int64 {
	return g.heapAt + int64(cluster-firstCluster)*g.cluster
}
