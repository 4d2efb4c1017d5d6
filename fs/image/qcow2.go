package image

import (
	"context"
	"encoding/binary"
)

// areasQcow2 makes a qcow2 version 3 file up: 64 KiB clusters, 16-bit refcounts
// that are all 1, no snapshots, no backing file, no optional features. A
// cluster or an L2 table of which nothing is stored is not in the file; its
// entry is 0, which without a backing file reads as zeros.
//
// Source: QEMU docs/interop/qcow2.txt, "Header" to "Cluster mapping".
func areasQcow2(d Disk) []area {
	spans, grains := unitsOf(d, Span), unitsOf(d, Grain)
	l := layoutQcow2(d.Size(), spans.count, grains.count)
	entry := func(base int64) func(p []byte, rank int64) {
		return func(p []byte, rank int64) {
			binary.BigEndian.PutUint64(p, uint64(base+rank*qcow2Cluster)|qcow2Copied)
		}
	}
	return []area{
		blob(0, qcow2HeaderArea, l.header),
		l.refTable().area(l.refTableOff),
		l.refCounts().area(l.refBlockOff),
		qcow2L1(spans, entry(l.l2Off)).area(l.l1Off),
		spanTables(d, qcow2Entry, entry(l.dataOff)).area(l.l2Off),
		unitData(l.dataOff, grains, 0, 0),
	}
}

// sizesQcow2 returns the file's size and its AllocatedBytes.
func sizesQcow2(d Disk) (size, allocated int64) {
	spans := d.Count(Span)
	l := layoutQcow2(d.Size(), spans, d.Count(Grain))
	return l.size, pageSize + l.refBlocks*qcow2Entry + l.clusters*qcow2RefEntry +
		touched(l.l1Entries*qcow2Entry, spans) + spans*qcow2Cluster + d.DataBytes()
}

// header is the file header and the (empty) list of header extensions.
//
//	 0 magic "QFI\xfb"     4 version 3          8 backing file offset 0
//	16 its length 0       20 cluster bits 16   24 virtual size
//	32 encryption 0       36 L1 entries        40 L1 offset
//	48 refcount table     56 its clusters      60 snapshots 0
//	64 their offset 0     72 incompatible 0    80 compatible 0
//	88 autoclear 0        96 refcount order 4 100 header length 104
//	104 end of extensions: type 0, length 0
func (l qcow2Layout) header() []byte {
	p := make([]byte, qcow2HeaderArea)
	be := binary.BigEndian
	copy(p, "QFI\xfb")
	be.PutUint32(p[4:], 3)
	be.PutUint32(p[20:], qcow2ClusterBits)
	be.PutUint64(p[24:], uint64(l.virtualSize))
	be.PutUint32(p[36:], uint32(l.l1Entries))
	be.PutUint64(p[40:], uint64(l.l1Off))
	be.PutUint64(p[48:], uint64(l.refTableOff))
	be.PutUint32(p[56:], uint32((l.refBlockOff-l.refTableOff)/qcow2Cluster))
	be.PutUint32(p[96:], 4)
	be.PutUint32(p[100:], qcow2HeaderLen)
	return p
}

// refTable names the refcount blocks; what is left of its last cluster is
// zeros.
func (l qcow2Layout) refTable() *table {
	return &table{
		width: qcow2Entry,
		count: l.refBlocks,
		next:  here,
		fill: func(_ context.Context, p []byte, from, to int64) error {
			for i := from; i < to; i++ {
				binary.BigEndian.PutUint64(p[(i-from)*qcow2Entry:], uint64(l.refBlockOff+i*qcow2Cluster))
			}
			return nil
		},
	}
}

// refCounts is all refcount blocks as one table: 1 for each cluster.
func (l qcow2Layout) refCounts() *table {
	return &table{
		width: qcow2RefEntry,
		count: l.clusters,
		next:  here,
		fill: func(_ context.Context, p []byte, _, _ int64) error {
			for i := 1; i < len(p); i += qcow2RefEntry {
				p[i] = 1
			}
			return nil
		},
	}
}

// here is the next of a table without empty entries.
func here(_ context.Context, e int64) (int64, error) { return e, nil }

// qcow2L1 has an entry for each span: its L2 table, or 0.
func qcow2L1(spans units, put func(p []byte, rank int64)) *table {
	return &table{
		width: qcow2Entry,
		count: spans.total,
		next:  spans.next,
		fill: func(ctx context.Context, p []byte, from, to int64) error {
			return spans.each(ctx, from, to, func(n, rank int64) { put(p[(n-from)*qcow2Entry:], rank) })
		},
	}
}
