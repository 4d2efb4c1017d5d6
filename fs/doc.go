// Package fs is the tree that users see: every version of every disk as plain
// files, through FUSE.
//
//	MNT/README.txt
//	MNT/<vm>/latest -> <id>           the newest version
//	MNT/<vm>/<id>/version.json        the manifest, readable
//	MNT/<vm>/<id>/<disk>.raw ...      one file for each format that can hold the disk
//	MNT/<vm>/<id>/files/volumes.json  what lies inside the disks
//	MNT/<vm>/<id>/files/root/...      the guest's own files, as it sees them
//	MNT/<vm>/<id>/files/<disk>/<volume>/...   those of one volume
//
// The tree is a view of the catalog. Nothing of it is loaded at mount: a node
// is made when the kernel looks its name up, and forgotten when the kernel
// forgets it. Listing a VM costs its versions' names, listing a version costs
// its manifest; neither reads a disk's maps or data. Stat of an image is
// arithmetic over the totals in the manifest.
//
// # What the kernel may keep
//
//	what is in version directories            a day, pages without limit: it is immutable
//	VM directories, version names             a second: a version may come or be forgotten
//	listings of the root and of VMs           nothing; all others for as long as it likes
//	the name latest                           50 ms; where it leads is immutable: each target is its own inode
//	names that do not exist                   nothing: they may appear
//
// Directories are read without being opened (unopened.go).
//
// # Inodes
//
// An inode number is the first 63 bits of the BLAKE3 hash of what a node is
// (identity.go), so it is the same after a restart and on another machine. 64
// more bits of the hash are the generation: two nodes whose numbers collide
// are still two nodes with their own content, and the chance for that is one
// in 2^64 with four thousand million images.
//
// # Reads
//
// An image is a function of the offset (package image) over a disk (package
// disk). A read becomes a list of slices: header bytes made up, chunks held in
// the cache, zeros of one static block. They go to the kernel in one writev
// without being copied. Sequential reads are noticed in each open file and the
// chunks to come are prefetched; of a chunk that a random read hits no more is
// decoded than the store's frames that it touches; a second small read in the same
// 64 KiB pushes the rest of it into the page cache. After a boot, or other reads all
// over an image, when nobody reads any more, all of it goes there (fill.go).
//
// # The guest's files
//
// Somebody who looks into files/ has the version's disks looked into, and
// somebody who looks into a volume has it opened, its journal replayed in memory
// (package files). Nodes hold numbers only; the dozen filesystems used last stay
// open. A volume by itself and the same volume in files/root are different
// inodes: the kernel wants each directory in one place. Modes, owners, times, links, holes and
// extended attributes are the guest's. The kernel does not check permissions
// (there is no default_permissions): whoever may enter the mount may read.
//
// Files of a directory are read ahead of who opens one after the other (trail.go
// notices, follow.go reads), with the same proofs; what fails there is no error yet.
//
// # Order of a shutdown
//
// No new opens; unmount; while that is busy, log who holds the mount and wait;
// detach; wait for the last close; then, and only then, the caches and (by the
// caller) the store are closed. A watchdog process detaches the mount when
// this process dies (watchdog.go).
package fs
