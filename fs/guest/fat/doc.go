// Package fat reads FAT12, FAT16 and FAT32 filesystems with long names. The
// format is that of "Microsoft Extensible Firmware Initiative FAT32 File System
// Specification" (1.03) and of ECMA-107.
//
//	boot sector   geometry (boot.go)
//	FATs          the cluster that follows each one, usually twice (table.go)
//	root          of FAT12 and 16: a run of entries behind the FATs
//	clusters      from number 2 on: files, and directories of entries (entry.go)
//
// All numbers are little-endian.
//
// There are no inodes. A node number is the place in the volume of the file's
// short entry, divided by 32; 1, which lies in the boot sector, is the root.
// There are no owners, links or modes: all is root's, 0755, without the bits of
// writing where it is marked read-only. Times are local, of a zone that is not
// told: they are taken for UTC. They count 2 seconds, those of birth 10
// milliseconds, those of access days. Short names are of code page 437. Names
// are looked up with regard to case.
//
// Where the first FAT can't be read, or does not begin as it must, the second
// one counts. There is no journal; the state's reason tells when a volume was
// not unmounted. A chain of clusters is followed no further than its file or
// directory can reach, so that one in a circle ends.
//
// The FAT and directories go through a cache of 4 MiB per volume; the runs of
// 16 files and the names of 8 directories are remembered.
package fat
