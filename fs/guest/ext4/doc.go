// Package ext4 reads ext2, ext3 and ext4 filesystems. The format is that of
// the Linux kernel's Documentation/filesystems/ext4 (sections are named where
// they are used) and of e2fsprogs' ext2_fs.h; the journal is jbd2's.
//
//	byte 1024   superblock, 1024 bytes (super.go)
//	block 1…    group descriptors, 32 or 64 bytes a group (group.go); with
//	            meta_bg spread over the groups
//	each group  block bitmap, inode bitmap, inode table: anywhere with flex_bg
//	inode       128 bytes or more (inode.go): what it maps lies in extents
//	            (extent.go), indirect blocks (indirect.go), or in the inode
//	            itself and its xattrs (inline.go)
//	directory   blocks of entries (dir.go), with a hash tree over them (htree.go)
//	journal     a file: descriptors, copies of blocks, revocations, commits
//	            (journal*.go); behind them the fast commits (fast*.go)
//
// All numbers are little-endian, those of the journal big-endian.
//
// A dirty volume is shown as the kernel would after recovery. What the journal
// holds is not copied: an index leads from each home block to its newest
// committed copy in the journal, 32 bytes a block and at most 2^20 of them.
// Fast commits are logical (this name now leads there, that range of that file
// lies here), so they are kept as changes to inodes and directories, of at
// most 4 MiB of log. Beyond these bounds the state is NotReplayed. A journal
// block's checksum is checked when the block is read, not when the volume is
// opened, so that opening need not read the whole journal.
//
// Metadata blocks go through one cache of 8 MiB per volume, in pages of at
// least 32 KiB. File content is not cached: who reads it in small pieces puts
// a cache under the volume.
//
// With metadata_csum every structure is verified when it is used. A mismatch
// is ErrCorrupt and names the place; as in the kernel a directory goes on with
// its next block (the listing ends with the error all the same), a damaged
// hash tree is replaced by a linear search, and a group descriptor with a
// wrong checksum is still used to find inodes, which have their own, though
// such a group never counts as free.
//
// Encrypted directories, files and links are ErrUnsupported except for Stat:
// their names and content mean nothing without the key. In a casefolded
// directory a name is looked up as it was written.
package ext4
