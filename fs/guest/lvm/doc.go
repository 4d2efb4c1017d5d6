// Package lvm reads LVM2: the labels of physical volumes (PVs), the metadata
// text of their volume group, and where the logical volumes lie.
//
//	sector 0–3   label: "LABELONE", its sector, CRC, offset of the PV header,
//	             "LVM2 001" (lib/label/label.h)
//	PV header    UUID (32 letters), size, list of data areas, list of metadata
//	             areas: offset and length each, ended by a zero offset
//	             (lib/format_text/layout.h)
//	metadata     512 bytes: CRC, magic, version, own start and size, then the
//	area         places of the text: the committed one, one being written.
//	             Behind it a ring of texts; one that reaches the end goes on
//	             at byte 512
//
// The text with the highest seqno of all PVs of a group counts. It is read as
// the tree of sections that it is (text.go), then as PVs, LVs and segments
// (group.go). Segments become mapped devices (build.go): striped (linear is
// one stripe), mirror, raid0, raid1, raid10, thin. Any other type is named and
// refused: cache, writecache, raid4/5/6, integrity, vdo, snapshot (the old kind).
//
// A thin pool keeps where its volumes lie in B-trees (thin.go, btree.go; the
// kernel's drivers/md/dm-thin-metadata.c and persistent-data/dm-btree*):
//
//	block 0   superblock: CRC, magic, roots, sizes
//	node      4096 bytes: CRC, flags (1 inner, 2 leaf), own block, number of
//	          keys, room for keys, size of a value; keys, values
//	tree      device id → root of its mappings; virtual block → data block<<24|time
//
// All numbers are little-endian.
package lvm
