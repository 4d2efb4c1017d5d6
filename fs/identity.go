package fs

import (
	"encoding/binary"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/zeebo/blake3"
)

// What a node's identity is hashed from; the first part is the node's kind.
// Each part is preceded by its length, so that no two lists are the same bytes.
//
//	"readme"
//	"vm"           VM name
//	"latest"       VM name, id of the version that it leads to
//	"version"      VM name, version id         (generation: of the version's UUID)
//	"version.json" VM name, version id, version UUID
//	"image"        VM name, version id, version UUID, disk name, disk UUID, format
//	"files", "volumes.json"       VM name, version id, version UUID
//	"files of disk"               … and the disk's name
//	"root", "guest drives"        the same
//	"drive"                       … and the letter
//	"guest file"                  … the disk's name, the volume's, the file's number in it
//	"guest file in root"          … the mount's number, the file's number in its volume
//
// A directory's listing tells inode numbers too, so the number of a version's
// directory comes from its name alone and its manifest need not be read.
const rootIno = 1 // as FUSE has it

// identify returns the inode number and generation of what parts name.
func identify(parts ...string) fusefs.StableAttr {
	h := blake3.New()
	for _, p := range parts {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.WriteString(p)
	}
	var sum [32]byte
	h.Sum(sum[:0])
	// 63 bits: some programs keep inode numbers in signed integers. The
	// smallest numbers are FUSE's and ours.
	ino := binary.LittleEndian.Uint64(sum[:]) &^ (1 << 63)
	if ino < 16 {
		ino += 16
	}
	return fusefs.StableAttr{Ino: ino, Gen: binary.LittleEndian.Uint64(sum[8:])}
}
