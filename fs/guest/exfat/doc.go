// Package exfat reads exFAT filesystems. The format is that of Microsoft's
// "exFAT file system specification", whose sections are named where they are
// used.
//
//	boot region   geometry and its checksum, and a backup of both (boot.go)
//	FAT           the cluster that follows each one, of files that are not in
//	              one run
//	clusters      from number 2 on: files, directories of entries (entry.go),
//	              the allocation bitmap (free.go)
//
// All numbers are little-endian.
//
// There are no inodes. A node number is the place in the volume of a file's
// first entry, divided by 32, with bit 62 when the directory lies in one run;
// 1, which lies in the boot region, is the root. There are no owners, links or
// modes: all is root's, 0755, without the bits of writing where it is marked
// read-only. Times are UTC where the entry tells its zone; else they are local,
// of a zone that is not told, and taken for UTC. Names are looked up with regard
// to case: the up-case table is not read.
//
// Each set of entries is verified by its checksum. What lies behind a file's
// valid length reads as zeros. There is no journal; the state's reason tells
// when a volume was not unmounted.
package exfat
