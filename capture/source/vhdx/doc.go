// Package vhdx reads Hyper-V VHDX images: fixed, dynamic and differencing,
// with an unreplayed log replayed in memory. Source: [MS-VHDX] "Virtual Hard
// Disk v2 (VHDX) File Format", version 8.0. All numbers are little-endian,
// all checksums CRC-32C with the checksum's own four bytes taken as zero.
//
//	  0       "vhdxfile", creator
//	 64 KiB   header 1   (4 KiB; the valid one with the higher sequence counts)
//	128 KiB   header 2
//	192 KiB   region table 1   (64 KiB; the first valid one counts)
//	256 KiB   region table 2
//	  1 MiB.. log, BAT, metadata, blocks, in any order, at multiples of 1 MiB
//
// Header: "head", checksum, sequence (8), file write GUID (16), data write
// GUID (16), log GUID (16; zero: the log is empty), log version (2), version
// (2), log length (4), log offset (8).
//
// Region table: "regi", checksum, count, then entries of 32 bytes: GUID,
// offset (8), length (4), required (4).
//
// Metadata: a table of 64 KiB: "metadata", 2 reserved, count (2), 20 reserved,
// then entries of 32 bytes: GUID, offset in the region (4), length (4), flags
// (4: 1 user, 2 of the virtual disk, 4 required), 4 reserved; then the items.
//
// BAT: 8 bytes for each payload block, bits 0..2 its state, bits 20..63 its
// place in MiB; after each chunk (the payload blocks of 2^23 sectors) the same
// for the chunk's sector bitmap block of 1 MiB. A set bit, lowest first, means
// that the sector is in this file, a clear one that it is in the parent.
//
// Log: a ring of entries, each of one or more sectors of 4 KiB:
//
//	 0  4  "loge"
//	 4  4  checksum over the whole entry
//	 8  4  length of the entry
//	12  4  tail: where in the log the sequence begins that this entry ends
//	16  8  sequence number
//	24  4  number of descriptors
//	32 16  log GUID, equal to the header's or the entry is none
//	48  8  flushed file offset: a shorter file was truncated
//	56  8  last file offset: the file grows to this
//	64 32* descriptors, through as many sectors as they need, then the data
//	       sectors, one for each data descriptor, in order
//
//	data: "desc", last 4 bytes, first 8 bytes, file offset (8), sequence (8)
//	zero: "zero", 4 reserved, length (8), file offset (8), sequence (8)
//	data sector: "data", upper half of the sequence, bytes 8..4091, lower half
//
// The newest sequence whose entries are all valid is replayed: here as an
// overlay over the file, which is never written.
package vhdx
