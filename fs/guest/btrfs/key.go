package btrfs

import (
	"cmp"
	"encoding/binary"
)

var le = binary.LittleEndian

// A key on disk: object 8, kind 1, offset 8. The items of a tree are in order
// of their keys.
const keyLen = 17

type key struct {
	object uint64
	kind   uint8
	offset uint64
}

func compareKeys(a, b key) int {
	if c := cmp.Compare(a.object, b.object); c != 0 {
		return c
	}
	if c := cmp.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	return cmp.Compare(a.offset, b.offset)
}

// parseKey reads the first 17 bytes of b.
func parseKey(b []byte) key { return key{le.Uint64(b), b[8], le.Uint64(b[9:])} }

// is tells whether the key is one of that object and kind.
func (k key) is(object uint64, kind uint8) bool { return k.object == object && k.kind == kind }

// Kinds of items (btrfs_tree.h).
const (
	kindInode        = 1
	kindInodeRef     = 12
	kindInodeExtref  = 13
	kindXattr        = 24
	kindDirLogIndex  = 72
	kindDirItem      = 84
	kindDirIndex     = 96
	kindExtentData   = 108
	kindSum          = 128
	kindRoot         = 132
	kindRootRef      = 156
	kindExtent       = 168
	kindMetadata     = 169
	kindBlockGroup   = 192
	kindFreeInfo     = 198
	kindFreeExtent   = 199
	kindFreeBitmap   = 200
	kindDevice       = 216
	kindChunk        = 228
	lastKind         = 255
	lastOffset       = 1<<64 - 1
	firstFree        = 256 // objects of files and subvolumes: from here on,
	lastFree         = 1<<64 - 256
	sumObject        = 1<<64 - 10
	deviceItemObject = 1
)

// Numbers of trees. Subvolumes have theirs from 256 on.
const (
	treeRoot       = 1
	treeExtent     = 2
	treeChunk      = 3
	treeTop        = 5 // the top-level subvolume
	treeRootDir    = 6 // no tree: the directory in the root tree
	treeSums       = 7
	treeFreeSpace  = 10
	treeRelocation = 1<<64 - 8
	treeLog        = 1<<64 - 6
)

// isSubvolume tells whether a tree holds files.
func isSubvolume(tree uint64) bool {
	return tree == treeTop || tree >= firstFree && tree <= lastFree
}
