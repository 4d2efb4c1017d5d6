package image

// qcow2 geometry (QEMU docs/interop/qcow2.txt). This must not change: the
// same version gives the same bytes for ever. An L2 table is one cluster and
// so maps 8192 clusters: a Span.
const (
	qcow2ClusterBits = 16
	qcow2Cluster     = int64(Grain)
	qcow2Entry       = 8                            // bytes of an L1, L2 or refcount table entry
	qcow2RefEntry    = 2                            // bytes of a refcount
	qcow2RefsOfBlock = qcow2Cluster / qcow2RefEntry // clusters that a refcount block counts
	qcow2BlocksOfRef = qcow2Cluster / qcow2Entry    // refcount blocks that a refcount table cluster names
	qcow2Copied      = uint64(1) << 63              // "refcount is exactly one"
	qcow2HeaderLen   = 104                          // version 3 without additional fields
	qcow2HeaderArea  = qcow2HeaderLen + 8           // and the end of the header extensions
)

// qcow2Layout is where the parts of a qcow2 file lie, all offsets in bytes,
// all parts whole clusters:
//
//	0            header
//	refTableOff  refcount table: the offset of each refcount block
//	refBlockOff  refcount blocks: 1 for each cluster of the file, 0 after
//	l1Off        L1 table: the offset of each allocated span's L2 table
//	l2Off        L2 tables of the allocated spans, in order
//	dataOff      allocated clusters, in order
//	size         end
type qcow2Layout struct {
	virtualSize int64
	l1Entries   int64
	refBlocks   int64
	clusters    int64 // of the whole file; each has refcount 1

	refTableOff, refBlockOff, l1Off, l2Off, dataOff, size int64
}

// layoutQcow2 lays out a file for a disk of size bytes with spans and grains
// allocated. The refcount blocks count themselves, so their number is the
// smallest that is large enough with them added; it is found in a few steps
// because each block counts 32,768 clusters.
func layoutQcow2(size, spans, grains int64) qcow2Layout {
	l := qcow2Layout{
		virtualSize: roundUp(size, sectorSize),
		l1Entries:   ceilDiv(size, int64(Span)),
	}
	l1Clusters := ceilDiv(l.l1Entries*qcow2Entry, qcow2Cluster)
	others := 1 + l1Clusters + spans + grains
	var refTable int64
	for {
		refTable = ceilDiv(l.refBlocks, qcow2BlocksOfRef)
		l.clusters = others + l.refBlocks + refTable
		need := ceilDiv(l.clusters, qcow2RefsOfBlock)
		if need == l.refBlocks {
			break
		}
		l.refBlocks = need
	}
	l.refTableOff = qcow2Cluster
	l.refBlockOff = l.refTableOff + refTable*qcow2Cluster
	l.l1Off = l.refBlockOff + l.refBlocks*qcow2Cluster
	l.l2Off = l.l1Off + l1Clusters*qcow2Cluster
	l.dataOff = l.l2Off + spans*qcow2Cluster
	l.size = l.dataOff + grains*qcow2Cluster
	return l
}
