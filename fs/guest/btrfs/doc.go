// Package btrfs reads btrfs filesystems over one or several devices. The format
// is that of the Linux kernel's btrfs_tree.h and of "On-disk Format" in the
// btrfs documentation.
//
//	superblock  at 64 KiB of each device, copies at 64 MiB and 256 GiB (super.go)
//	chunks      map the logical space, in which all else has its place, to
//	            devices: single, DUP, RAID0, 1, 1C3, 1C4, 10, 5 and 6 (chunk.go,
//	            stripe.go, device.go, parity.go)
//	trees       of items in order of their keys (key.go, node.go, tree.go)
//	tree 1      of trees and subvolumes (subvolume.go)
//	tree 7      checksums of content (sums.go)
//	tree 2, 10  extents, free space (free.go)
//	tree 5, 256 and on: a subvolume each, of inodes (inode.go), entries (dir.go),
//	            xattrs (xattr.go) and extents (extent.go, file.go, compress.go)
//	log         what was synced since the last commit (log*.go)
//
// All numbers are little-endian.
//
// A node is verified when it is read: its checksum (CRC32C, xxHash, SHA-256 or
// BLAKE2b), filesystem, place, owner, generation, level, the order of its keys
// and the bounds of its items; and each content by its checksums, unless the
// file has none. What is wrong or lies on a device that is missing comes from
// the other copies, or is made from the row's parity. Only when there is no good
// copy it is an error, which names the first damage.
//
// The root is that of the default subvolume, as in a mount without options; the
// state's reason tells when that is not the top level. Subvolumes and snapshots
// are directories. One that a snapshot holds by name only is an empty directory,
// as the kernel shows it. Node numbers are made of the subvolume's number and
// the inode's (subvolume.go); in the top level they are inode numbers.
//
// The log is replayed in memory as the kernel replays it, into changes of items,
// at most 48 MiB of them; a larger or damaged log is not, and the state is
// NotReplayed. The time of change that the kernel gives to files whose names
// the replay removes is not made up. Inodes that were open and without a name
// stay in use.
//
// Nodes go through a cache of 10 MiB per volume, decoded extents through one of
// 2 MiB. Other content is not cached: who reads it in small pieces puts a cache
// under the volume.
//
// Filesystems on zoned devices, with a raid-stripe-tree, extent-tree-v2 or a
// feature that is not known are guest.ErrUnsupported by name. A device of a
// seed filesystem counts as missing.
package btrfs
