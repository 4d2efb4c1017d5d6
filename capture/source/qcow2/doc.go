// Package qcow2 reads qcow2 images of version 2 and 3: zlib and zstd clusters,
// backing chains, external data files and extended L2 entries. Internal
// snapshots are ignored with a notice; encryption and unknown features are
// refused by name. All numbers in an image are big-endian.
//
// The header, at byte 0 (fields that reading does not need are left out):
//
//	  0  4  magic "QFI\xfb"
//	  4  4  version, 2 or 3
//	  8  8  byte of the backing file's name in the first cluster, 0 for none
//	 16  4  its length
//	 20  4  log2 of the cluster size
//	 24  8  size of the disk in bytes
//	 32  4  encryption method
//	 36  4  entries of the L1 table
//	 40  8  byte of the L1 table
//	 60  4  number of internal snapshots
//	 72  8  incompatible features (version 3, like the rest)
//	100  4  header length; extensions follow: type 4, length 4, body, padded to 8
//	104  1  compression type, 0 zlib, 1 zstd (if the header is longer than 104)
//
// A guest offset is found in two steps: the L1 entry of its L2 table, then the
// L2 entry of its cluster:
//
//	L1  bits 9-55 byte of the L2 table, 0 if all its clusters are unallocated
//	L2  bit  0    the cluster reads as zeros (not with extended entries)
//	    bits 9-55 byte of the cluster, 0 if unallocated
//	    bit  62   the cluster is compressed: then the bits below x = 70 -
//	              log2(cluster size) are its byte, and the bits from there to
//	              61 the number of further 512-byte sectors that it touches
//	    bit  63   the cluster is used once (the only mark of an allocated
//	              cluster at byte 0 of an external data file)
//
// An extended L2 entry has a second word about 32 subclusters: bits 0-31 say
// allocated, bits 32-63 say zero; neither means: as in the backing image.
//
// Memory: tables are read in blocks of at most 16 KiB, of which 2.25 MiB are kept
// for each image of a chain; inflated clusters take at most 8 MiB more.
//
// Source: QEMU, docs/interop/qcow2.txt.
package qcow2
