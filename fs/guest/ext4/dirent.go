package ext4

import (
	"bytes"

	"holdfast/fs/guest"
)

// A directory entry (Linear Directories): inode 4, length of the record 2, of
// the name 1, type 1, name. A record that holds no entry has inode 0; the last
// one of a block reaches to its end, or to the checksum, which looks like an
// empty entry of 12 bytes and type 0xde.
const (
	direntHead  = 8
	direntTail  = 12
	tailType    = 0xde
	longRecords = 64 << 10 // in blocks of this size a length may need 17 bits
	maxName     = 255
)

// dirent is an entry of a directory, at a place in its content.
type dirent struct {
	inode    uint32
	name     []byte // part of the block
	kind     byte
	off, end int64
}

// direntTypes are the kinds of an entry.
var direntTypes = [...]guest.Type{0, guest.Regular, guest.Directory, guest.CharDevice, guest.BlockDevice, guest.FIFO, guest.Socket, guest.Symlink}

// parseRecord reads the record at the start of b, and how long it is. A record
// without an entry gives an inode of 0.
func parseRecord(b []byte) (dirent, int, error) {
	if len(b) < direntHead {
		return dirent{}, 0, guest.Corrupt("a record of %d bytes", len(b))
	}
	length, nameLen := recordLen(b), int(b[6])
	if length < direntHead+4 || length%4 != 0 || length > len(b) || direntHead+nameLen > length {
		return dirent{}, 0, guest.Corrupt("a record of %d bytes with a name of %d, in %d", length, nameLen, len(b))
	}
	return dirent{inode: le.Uint32(b), name: b[direntHead:][:nameLen], kind: b[7]}, length, nil
}

// recordLen reads a record's length. 0 and 65535 stand for a whole block of
// 64 KiB.
func recordLen(b []byte) int {
	length := int(le.Uint16(b[4:]))
	if len(b) == longRecords && (length == 65535 || length == 0) {
		return len(b)
	}
	return length
}

// eachRecord calls fn for the entries in b, which lies at off of the
// directory's content, until fn returns false. An entry that can't be one ends
// the block with an error.
func (f *FS) eachRecord(in *inode, b []byte, off int64, fn func(dirent) bool) (more bool, err error) {
	for len(b) > 0 {
		e, length, err := parseRecord(b)
		if err != nil {
			return true, guest.Corrupt("ext4 directory %d: at %d: %v", in.number, off, err)
		}
		e.off, e.end = off, off+int64(length)
		b, off = b[length:], e.end
		if e.inode == 0 || string(e.name) == "." || string(e.name) == ".." {
			continue
		}
		if e.inode > f.sb.inodes || len(e.name) == 0 || bytes.IndexByte(e.name, '/') >= 0 || bytes.IndexByte(e.name, 0) >= 0 {
			return true, guest.Corrupt("ext4 directory %d: at %d: the name %q of inode %d", in.number, e.off, e.name, e.inode)
		}
		if !fn(e) {
			return false, nil
		}
	}
	return true, nil
}

// direntType gives the type that an entry tells, 0 if it tells none.
func (f *FS) direntType(kind byte) guest.Type {
	if f.sb.incompat&incompatFiletype == 0 || int(kind) >= len(direntTypes) {
		return 0
	}
	return direntTypes[kind]
}
