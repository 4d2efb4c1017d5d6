// Package vmdk reads VMDK images: monolithicSparse, streamOptimized,
// monolithicFlat, twoGbMaxExtentSparse and twoGbMaxExtentFlat, with embedded
// and separate descriptors, and the parents of sparse ones. ESX's own sparse
// formats (COWD, SESPARSE), raw device maps and encryption are refused by name.
//
// A disk is the sum of its extents, which the descriptor lists. The descriptor
// is text: "key=value" lines and a line for each extent,
//
//	RW 4192256 SPARSE "disk-s001.vmdk"
//	RW 4192256 FLAT "disk-flat.vmdk" 0
//
// with access, length in sectors of 512 bytes, type, file, and first sector in
// a flat file. A sparse extent file begins with a header of one sector,
// little-endian and packed:
//
//	 0  4  magic "KDMV"
//	 4  4  version, 1 to 3
//	 8  4  flags: 2 zeroed grains, 16 compressed, 17 markers
//	12  8  capacity in sectors
//	20  8  sectors of a grain
//	28  8  sector of the embedded descriptor, 0 for none
//	36  8  its sectors
//	44  4  entries of a grain table
//	56  8  sector of the grain directory; -1: a copy of this header, three
//	       sectors before the end of the file (the footer), tells it
//	77  2  compression, 1 is deflate
//
// A guest sector is found in two steps of 4-byte little-endian sectors: the
// grain directory holds grain tables, a grain table holds grains. 0 means
// unallocated: the parent, or zeros; 1 means zeros, if the flag is set. A
// compressed grain begins with its guest sector (8), its length (4), then a
// zlib stream.
//
// Memory: for one image, whatever its extents, 5 MiB of directories and tables
// and 8 MiB of inflated grains are kept.
//
// Source: VMware, Virtual Disk Format 5.0.
package vmdk
