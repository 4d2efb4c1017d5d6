// Package disk is a disk as a map of chunks. A Builder writes the map of a
// version's disk, a Reader finds and reads any byte through it.
//
// A disk is divided into regions of 4 MiB. A region that holds data has a
// region map, which lists its extents; the disk map is a tree over the region
// maps. Both are chunks themselves, named by their content: an unchanged
// region, or an unchanged span, costs a new version nothing. All numbers are
// little-endian, every map has exactly one encoding, and what is written here
// is on disk and must not change within format version 1.
//
// # Region map (pack.KindRegionMap)
//
//	    0    4  magic "HFRM"
//	    4    2  version, 1
//	    6    2  n, the number of extents, 1..1024
//	    8  4·n  offsets in the region, u32
//	8+4·n  4·n  lengths, u32, 1..65536: the plain length of the chunk
//	8+8·n 32·n  chunk ids, none zero
//
// Extents are in order, do not overlap and lie inside the region. What no
// extent covers is a hole and reads as zeros. The columns let a search run
// over the offsets alone. The worst map is 40,968 bytes, so it is one chunk. A
// region without data has no map.
//
// # Disk map node (pack.KindDiskMap)
//
//	 0  4  magic "HFDM"
//	 4  2  version, 1
//	 6  1  level
//	 7  1  zero
//	 8  2  n, the number of entries
//	10  6  zero
//
// Level 0 is a leaf and covers a span of 512 MiB. It has 1..128 entries, one a
// region:
//
//	     16 32·n  region map ids; zero: the region is a hole
//	16+32·n  8·n  bitmaps: bit i is set when any byte of grain i (64 KiB) of
//	              the region is stored; zero exactly where the id is
//
// Level 1 covers 512 GiB and has 1..1024 entries; level 2 covers 64 TiB, the
// largest disk, and has 1..128. An entry is a child of the level below:
//
//	     16 32·n  node ids; zero: nothing below is stored
//	16+32·n  4·n  grains of 64 KiB below that are allocated, u32
//	16+36·n  4·n  blocks of 2 MiB, u32
//	16+40·n  4·n  spans of 512 MiB, u32
//
// A unit is allocated when any byte of it is stored. The counts make it
// possible to tell how many units come before any place, and where the k-th
// lies, in as many steps as the tree has levels: this is what made-up images
// are computed from.
//
// The last entry of a node is never a hole: a node ends with its data, and a
// node without data does not exist. The root is at the lowest level that
// covers the disk's size, whatever the disk holds, so the same disk always has
// the same root. A disk without data has the zero id as its root.
//
// The root's id, the disk's size and its totals (Map) stand in the version's
// manifest.
//
// # What a reader believes
//
// A chunk that comes back has the id it was asked for by, but the map may have
// been made by a faulty or hostile writer. So a node's counts must add up to
// what its parent says of it, a region map's extents to its bitmap, an
// extent's length to its chunk's, and nothing may lie behind the disk's end.
// What does not fit is an error; so is a map that is missing. Zeros are read
// only where a proved map says hole.
//
// # After a crash
//
// Children are put before their parents and the root last; the manifest that
// names it becomes visible after all of them are durable. So a crash leaves
// chunks that no root leads to, which garbage collection finds, and never a
// map that leads to nothing.
package disk
