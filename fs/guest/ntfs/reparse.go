package ntfs

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// A reparse point ([MS-FSCC] 2.1.2): tag 4, length of the data 2, 2 unused; then
// for tags that are not Microsoft's a GUID of 16; then the data.
const (
	tagMicrosoft  = 0x8000_0000
	tagMountPoint = 0xa000_0003
	tagSymlink    = 0xa000_000c
	tagDedup      = 0x8000_0013
	tagWOF        = 0x8000_0017
	tagLXSymlink  = 0xa000_001d
	tagUnixSocket = 0x8000_0023
	tagLXFIFO     = 0x8000_0024
	tagLXChar     = 0x8000_0025
	tagLXBlock    = 0x8000_0026
	reparseHead   = 8
	reparseGUID   = 16
	maxReparse    = 64 << 10 // Windows allows 16 KiB
)

// readReparse reads a reparse point and what becomes of the file's type by it.
// A tag that is not known leaves the file what it is without it.
func (f *FS) readReparse(ctx context.Context, in *inode) error {
	b, err := f.readAll(ctx, in.file, attrReparse, "", maxReparse)
	if err != nil || b == nil {
		return err
	}
	if len(b) < reparseHead {
		return guest.Corrupt("ntfs record %d: a reparse point of %d bytes", in.number, len(b))
	}
	in.tag = le.Uint32(b)
	length := int(le.Uint16(b[4:]))
	b = b[reparseHead:]
	if in.tag&tagMicrosoft == 0 && len(b) >= reparseGUID {
		b = b[reparseGUID:]
	}
	if length > len(b) {
		return guest.Corrupt("ntfs record %d: a reparse point with %d bytes of data, of %d", in.number, len(b), length)
	}
	in.reparse = b[:length]
	switch in.tag {
	case tagSymlink, tagMountPoint, tagLXSymlink:
		in.kind = guest.Symlink
	case tagUnixSocket:
		in.kind = guest.Socket
	case tagLXFIFO:
		in.kind = guest.FIFO
	case tagLXChar:
		in.kind = guest.CharDevice
	case tagLXBlock:
		in.kind = guest.BlockDevice
	case tagWOF:
		packed, err := f.stream(ctx, in.file, attrData, wofStream)
		if err != nil {
			return err
		}
		if packed != nil {
			in.allocated = packed.allocated
		}
	}
	in.device = in.ea.device
	if (in.kind == guest.CharDevice || in.kind == guest.BlockDevice) && !in.ea.hasDevice {
		return guest.Corrupt("ntfs record %d: a device without a number", in.number)
	}
	return nil
}

// Special files as Services for Unix (Interix) and ntfs-3g make them: a system
// file that holds a mark and the target in UTF-16, or the device's two numbers
// of 8 bytes; an empty one is a FIFO, and one of a byte a socket, unless it is
// hidden.
const (
	interixLink   = "IntxLNK\x01"
	interixChar   = "IntxCHR\x00"
	interixBlock  = "IntxBLK\x00"
	interixMark   = 8
	interixDevice = interixMark + 16
	maxInterix    = interixMark + 2*unix.PathMax
)

// readInterix finds out whether a system file is a special file.
func (f *FS) readInterix(ctx context.Context, in *inode) error {
	visible := in.dos&dosHidden == 0
	switch s := in.data; {
	case s == nil || s.flags&flagEncrypted != 0 || s.size > maxInterix:
		return nil
	case s.size == 0 && visible:
		in.kind = guest.FIFO
		return nil
	case s.size == 1 && visible:
		in.kind = guest.Socket
		return nil
	case s.size <= interixMark:
		return nil
	}
	b := make([]byte, in.data.size)
	if err := f.readStream(ctx, in.data, b, 0); err != nil {
		return err
	}
	switch mark := string(b[:interixMark]); {
	case mark == interixLink:
		in.kind, in.interix = guest.Symlink, b[interixMark:]
	case mark == interixChar && len(b) == interixDevice:
		in.kind = guest.CharDevice
	case mark == interixBlock && len(b) == interixDevice:
		in.kind = guest.BlockDevice
	default:
		return nil
	}
	if in.kind != guest.Symlink {
		in.device = unix.Mkdev(uint32(le.Uint64(b[interixMark:])), uint32(le.Uint64(b[interixMark+8:])))
	}
	return nil
}

// Readlink implements guest.Filesystem. See the package on how targets of
// Windows are translated.
func (f *FS) Readlink(ctx context.Context, n guest.Node) (string, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return "", err
	}
	if in.kind != guest.Symlink {
		return "", fmt.Errorf("ntfs record %d is no link: %w", in.number, guest.ErrNotExist)
	}
	return f.target(ctx, in)
}

// target gives what a link leads to.
func (f *FS) target(ctx context.Context, in *inode) (string, error) {
	target := ""
	switch b := in.reparse; {
	case in.interix != nil:
		target = narrow(in.interix)
	case in.tag == tagLXSymlink:
		if len(b) > 4 && le.Uint32(b) == 2 {
			target = string(b[4:])
		}
	default:
		path, rooted, err := substitute(in)
		if err != nil {
			return "", err
		}
		if target, err = f.translate(ctx, in, path, rooted); err != nil {
			return "", err
		}
	}
	target, _, _ = cutNUL(target)
	if target == "" {
		return "", guest.Corrupt("ntfs record %d: a link without a target", in.number)
	}
	return target, nil
}

func cutNUL(s string) (before, after string, found bool) {
	i := bytes.IndexByte([]byte(s), 0)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// substitute gives the path in the data of a symlink or mount point: 0 place and
// length of the path 2 + 2, of the one to show 2 + 2, for a symlink flags 4 (1:
// not a full path of the object manager), then both in UTF-16.
func substitute(in *inode) (path []byte, short bool, err error) {
	b, head := in.reparse, 8
	if in.tag == tagSymlink {
		head = 12
	}
	if len(b) < head {
		return nil, false, guest.Corrupt("ntfs record %d: a link with %d bytes", in.number, len(b))
	}
	from, length := int(le.Uint16(b)), int(le.Uint16(b[2:]))
	if from > len(b)-head || length > len(b)-head-from {
		return nil, false, guest.Corrupt("ntfs record %d: a target of %d bytes at %d of %d", in.number, length, from, len(b)-head)
	}
	return b[head+from:][:length&^1], in.tag == tagSymlink && le.Uint32(b[8:])&1 != 0, nil
}
