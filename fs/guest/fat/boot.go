package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"holdfast/fs/guest"
)

var le = binary.LittleEndian

// geometry is what the boot sector tells:
//
//	11 bytes in a sector 2  13 sectors in a cluster 1  14 reserved sectors 2
//	16 FATs 1  17 entries of the root 2  19 sectors 2  21 media 1
//	22 sectors of a FAT 2  32 sectors 4
//
// then of FAT12 and 16
//
//	37 flags 1  38 mark 0x29  39 serial number 4  43 label 11
//
// and of FAT32
//
//	36 sectors of a FAT 4  40 flags 2  42 version 2  44 root's cluster 4
//	65 flags 1  66 mark 0x29  67 serial number 4  71 label 11
type geometry struct {
	bits        int // of an entry in the FAT: 12, 16 or 32
	sector      int64
	cluster     int64 // bytes
	clusters    uint32
	tableAt     int64 // the FAT that counts, and the other one
	mirrorAt    int64 // 0 for none
	tableLen    int64
	rootAt      int64 // of FAT12 and 16
	rootLen     int64
	rootCluster uint32 // of FAT32
	dataAt      int64
	size        int64
	media       byte
	dirty       bool // as Linux marks it; Windows marks the FAT
	label, id   string
}

const (
	bootLen      = 512
	entryLen     = 32
	firstCluster = 2
)

// parseBoot reads the boot sector of a volume of size bytes.
func parseBoot(b []byte, size int64) (*geometry, error) {
	g := &geometry{sector: int64(le.Uint16(b[11:])), media: b[21]}
	perCluster, reserved, tables := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	power := func(n, low, high int64) bool { return n >= low && n <= high && n&(n-1) == 0 }
	if b[510] != 0x55 || b[511] != 0xaa || !power(g.sector, 512, 4096) || !power(perCluster, 1, 128) || reserved == 0 || tables == 0 || tables > 4 || g.media < 0xf0 {
		return nil, guest.ErrNotMine
	}
	g.cluster = g.sector * perCluster
	sectors, length := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	more := b[36:]
	if length == 0 {
		length = int64(le.Uint32(b[36:]))
		more = b[64:]
	}
	g.rootLen = int64(le.Uint16(b[17:])) * entryLen
	g.tableAt, g.tableLen, g.size = reserved*g.sector, length*g.sector, sectors*g.sector
	g.rootAt = g.tableAt + tables*g.tableLen
	g.dataAt = (g.rootAt + g.rootLen + g.sector - 1) / g.sector * g.sector
	if length == 0 || g.dataAt+g.cluster > g.size {
		return nil, guest.ErrNotMine
	}
	g.clusters = uint32((g.size - g.dataAt) / g.cluster)
	if tables > 1 {
		g.mirrorAt = g.tableAt + g.tableLen
	}
	if err := g.kind(b, tables); err != nil {
		return nil, err
	}
	g.dirty = more[1]&1 != 0
	if more[2] == 0x29 {
		g.label = strings.TrimRight(cutText(more[7:18]), " ")
		g.id = fmt.Sprintf("%04X-%04X", le.Uint16(more[5:]), le.Uint16(more[3:]))
	}
	if g.size > size {
		return nil, guest.Corrupt("fat: %d bytes in a volume of %d; is it cut off?", g.size, size)
	}
	return g, nil
}

// kind tells the kind by the number of clusters, as the specification has it,
// but that a FAT32 is known by the length of its FAT.
func (g *geometry) kind(b []byte, tables int64) error {
	const most12, most16, most32 = 4084, 65524, 0x0ffffff5
	switch {
	case le.Uint16(b[22:]) == 0:
		g.bits, g.rootCluster = 32, le.Uint32(b[44:])
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 { // one FAT only counts
			active := int64(flags & 0xf)
			if active >= tables {
				return guest.Corrupt("fat: FAT %d of %d counts", active, tables)
			}
			g.tableAt, g.mirrorAt = g.tableAt+active*g.tableLen, 0
		}
		if version := le.Uint16(b[42:]); version != 0 {
			return fmt.Errorf("FAT32 of version %d.%d: %w", version>>8, version&0xff, guest.ErrUnsupported)
		}
		if g.rootLen != 0 || g.clusters > most32 {
			return guest.Corrupt("fat: %d clusters and a root of %d bytes in a FAT32", g.clusters, g.rootLen)
		}
	case g.clusters <= most12:
		g.bits = 12
	case g.clusters <= most16:
		g.bits = 16
	default:
		return guest.Corrupt("fat: %d clusters in a FAT16", g.clusters)
	}
	if need := (int64(g.clusters)+firstCluster)*int64(g.bits)/8 - 1; need > g.tableLen {
		return guest.Corrupt("fat: a FAT of %d bytes for %d clusters", g.tableLen, g.clusters)
	}
	if g.bits < 32 && g.rootLen == 0 {
		return guest.Corrupt("fat: no root")
	}
	return nil
}

// has tells whether there is such a cluster.
func (g *geometry) has(cluster uint32) bool {
	return cluster >= firstCluster && cluster-firstCluster < g.clusters
}

// place gives where a cluster lies.
func (g *geometry) place(cluster uint32) int64 {
	return g.dataAt + int64(cluster-firstCluster)*g.cluster
}

// cutText gives what is before the first NUL.
func cutText(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return decodeShort(b)
}
