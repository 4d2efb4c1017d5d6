// Package xfs reads XFS filesystems, versions 4 and 5. The format is that of
// "XFS Algorithms & Data Structures" (xfs-documentation; chapters are named
// where they are used) and of the Linux kernel's xfs_format.h, xfs_da_format.h
// and xfs_log_format.h.
//
//	each AG   superblock (super.go), AGF, AGI, AGFL (group.go): a sector each;
//	          B+trees of free space by place and of inodes (btree.go)
//	inode     core, data fork, attribute fork (inode.go, fork.go): a fork
//	          holds its content, its extents or the root of a B+tree of
//	          extents (mapping.go)
//	directory in the inode (dir_short.go) or blocks of names (dir_block.go);
//	          from byte 32 GiB on a hash index of them (hashtree.go)
//	xattrs    in the inode or in leaves (xattr.go, xattr_leaf.go); long values
//	          in blocks of their own
//	log       records (log_record.go) of operations, that make transactions
//	          (log_transaction.go) of items (log_item.go)
//
// All numbers are big-endian, those of log items little-endian.
//
// A dirty volume is shown as the kernel would after recovery. Changes in the
// log are parts of buffers, so unlike a journal of whole blocks they must be
// put together: in an overlay of sectors of 512 bytes, at most 2^17 of them.
// The log is read twice, once for what was cancelled, a record at a time; the
// operations of transactions that are not yet committed are kept, at most
// 64 MiB. Beyond these bounds, and when the log is damaged or on another
// device, the volume is shown as it lies there and its state is NotReplayed.
// Intents (an extent to be freed, a reverse mapping to be made) that were not
// done are not finished: what they would free stays in use. The state's reason
// counts them. Inodes that were open and without a name stay in use as well.
//
// Metadata goes through one cache of 8 MiB per volume, in pages of
// 64 KiB. File content is not cached: who reads it in small pieces puts a
// cache under the volume.
//
// In version 5 each structure is verified when it is used: its checksum, UUID
// and place. What comes from the log has no valid checksum of its own; the
// checksum of its record was verified. A mismatch is ErrCorrupt and names the
// place. A listing goes on with the directory's next block and ends with the
// error all the same; where the hash index is damaged, names are searched one
// by one.
//
// Content on a real-time device is ErrUnsupported; the rest of such a volume
// can be read.
package xfs
