// Package restore writes a version's disk to a file or a block device, in any
// format that package image makes up.
//
// A new file is written under a temporary name beside its own and renamed when
// all of it is there and synced: a restore that fails or is stopped leaves
// nothing behind that looks like a disk. Holes are not written. Onto something
// that exists, only blocks that differ are written: for a raw disk each stored
// extent of the target is hashed first, and what has the chunk's id already is
// neither fetched nor decoded. All maps of the version are proved before the
// first write, and a file gets its size after the last one.
//
// With Options.Changed only those ranges of a target that exists are dealt with; all
// else of it is trusted to be the version's, and neither read nor written.
//
// Every chunk is proved against its id on its way; a chunk that does not come
// back ends the restore with an error that names it.
//
// With Options.Skip the rest is written: runs that did not come back are zeros in
// the image, also onto a target that exists, and are told one by one.
//
// Long runs of a new file are written past the page cache, where the file system
// allows it, and those of a target that exists are read past it, unless it has them. In the process that owns the store chunks are read in the order of its
// packs (chunkstore.Rows), and for a new raw file ahead and past the page cache, while
// the cores decode.
//
// Memory: each worker holds one window of 4 MiB, two when it compares, and half a MiB
// of a pack; for a new raw file 4 MiB of packs a worker, and 24 MiB.
package restore
