// Package layout finds where the files of a guest lie on its disks, and which
// parts of the disks the guest does not use. A capture cuts along the one and
// leaves out the other.
//
//	disks ─ volume.Find ─ each volume ─ its reader ─┬─ Files ─ cuts
//	                                                └─ Free, swap ─ out
//
// # Cuts
//
// A cut is made where an extent of a file begins, where the file has come to a
// multiple of MaxCell, counted from its own start, and behind the last block of
// an extent. So the same file is cut alike wherever it lies, whole or in
// fragments. Where several files have the same bytes (reflinks, snapshots), the
// cuts of all of them are made: a union does not depend on the order in which
// files are met. Nothing but the bytes of the disks decides, so the same disks
// have the same cuts on any machine; only a scan that is broken off for its
// time (see below) has none.
//
// # What is out
//
// Out is what the filesystem of a volume says is unused after its journal was
// replayed, and what swap holds. In doubt nothing is out:
//
//   - of volumes that are not whole, whose journal was not replayed, that bear
//     the marks of two formats, or whose reader ends with an error;
//   - of places that another volume reads as well (snapshots), or that the
//     partition table or anything else on the disk lies in;
//   - the first and the last 64 KiB of any volume, where superblocks, boot
//     sectors and their copies lie;
//   - of a filesystem that is larger than its volume, and of any FAT, where
//     nothing proves what it says is free;
//   - of an NTFS that has shadow copies, or whose Windows is hibernated or shut
//     down for a fast start;
//   - of any disk of a VM that was put to sleep, into a volume or a swap file:
//     its memory knows more of the filesystems than its disks do.
//
// What belongs to no volume (partition tables, gaps, boot loaders, metadata of
// LVM and md) is never out, since only volumes say what is.
//
// # Bounds
//
// Guests are hostile. A reader may read a quarter of its volume and 64 MiB, and
// all of them as much as the disks have and 1 GiB; it is ended after a time, all
// of them after ten times that, and may panic: all of that makes a notice, and the volume
// is cut on the grid and captured whole. Cuts and out are bits, one each for a
// block of 4096 bytes (512 where a volume needs it), in pages of 64 KiB that
// exist where there is something to say; above MaxMemory they go to a temporary
// file that has no name.
package layout
