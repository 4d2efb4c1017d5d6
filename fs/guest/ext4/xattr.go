package ext4

import (
	"bytes"
	"context"

	"holdfast/fs/guest"
)

// Extended attributes (Extended Attributes): in the inode behind its extra
// fields, and in a block of their own.
//
//	in the inode  magic 4, then entries; values at offsets from the first entry
//	in a block    magic 4, references 4, blocks 4, hash 4, checksum 4, 12 unused;
//	              then entries; values at offsets from the block's start
//	entry         name length 1, name index 1, value offset 2, value inode 4,
//	              value size 4, hash 4, name, padding to 4; four zeros end them
const (
	xattrMagic     = 0xea020000
	xattrBlockHead = 32
	xattrBlockSum  = 16
	xattrEntry     = 16

	xattrUser       = 1
	xattrACLAccess  = 2
	xattrACLDefault = 3
	xattrTrusted    = 4
	xattrSecurity   = 6
	xattrSystem     = 7

	maxXattrValue = 64 << 10 // as getxattr(2) has it
	maxXattrTotal = 16 << 20
)

// xattrPrefixes are the indexes that Linux shows.
var xattrPrefixes = map[byte]string{
	xattrUser: "user.", xattrTrusted: "trusted.", xattrSecurity: "security.",
	xattrACLAccess: "system.posix_acl_access", xattrACLDefault: "system.posix_acl_default",
}

// xattr is one entry. Its value is part of a cached block, or in an inode.
type xattr struct {
	index byte
	name  string // without what the index stands for
	value []byte
	inode uint32 // holds the value instead, of size bytes
	size  uint32
}

// eachXattr calls fn for the entries of an inode, first those in it, until fn
// returns false or an error.
func (f *FS) eachXattr(ctx context.Context, in *inode, fn func(xattr) (bool, error)) error {
	if len(in.xattrs) >= 4 && le.Uint32(in.xattrs) == xattrMagic {
		entries := in.xattrs[4:]
		if more, err := eachEntry(in, entries, entries, fn); err != nil || !more {
			return err
		}
	}
	if in.acl == 0 {
		return nil
	}
	b, err := f.block(ctx, in.acl)
	if err != nil {
		return err
	}
	if le.Uint32(b) != xattrMagic {
		return guest.Corrupt("ext4 inode %d: block %d holds no xattrs", in.number, in.acl)
	}
	if f.sb.metadataCsum() && f.xattrSum(in.acl, b) != le.Uint32(b[xattrBlockSum:]) {
		return guest.Corrupt("ext4 inode %d: the xattrs in block %d have a wrong checksum", in.number, in.acl)
	}
	_, err = eachEntry(in, b[xattrBlockHead:], b, fn)
	return err
}

// xattrSum is the checksum of an xattr block.
func (f *FS) xattrSum(block uint64, b []byte) uint32 {
	sum := crc32cNumber(crc32cNumber(f.sb.seed, uint32(block)), uint32(block>>32))
	sum = crc32cZeros(crc32c(sum, b[:xattrBlockSum]), 4)
	return crc32c(sum, b[xattrBlockSum+4:])
}

// eachEntry walks entries whose values lie in base.
func eachEntry(in *inode, entries, base []byte, fn func(xattr) (bool, error)) (more bool, err error) {
	for len(entries) >= 4 && le.Uint32(entries) != 0 {
		if len(entries) < xattrEntry || xattrEntry+int(entries[0]) > len(entries) {
			return false, guest.Corrupt("ext4 inode %d: an xattr's name ends outside", in.number)
		}
		name := entries[xattrEntry:][:entries[0]]
		x := xattr{index: entries[1], name: string(name), inode: le.Uint32(entries[4:]), size: le.Uint32(entries[8:])}
		if bytes.IndexByte(name, 0) >= 0 {
			return false, guest.Corrupt("ext4 inode %d: an xattr's name %q", in.number, name)
		}
		if off := uint64(le.Uint16(entries[2:])); x.inode == 0 && x.size > 0 {
			if off+uint64(x.size) > uint64(len(base)) {
				return false, guest.Corrupt("ext4 inode %d: %d bytes of xattr at %d end outside", in.number, x.size, off)
			}
			x.value = base[off:][:x.size]
		}
		if more, err := fn(x); err != nil || !more {
			return false, err
		}
		entries = entries[min((xattrEntry+len(name)+3)&^3, len(entries)):]
	}
	return true, nil
}

// Xattrs implements guest.Filesystem.
func (f *FS) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return nil, err
	}
	all, total := map[string][]byte{}, 0
	err = f.eachXattr(ctx, in, func(x xattr) (bool, error) {
		prefix, ok := xattrPrefixes[x.index]
		if isACL := x.index == xattrACLAccess || x.index == xattrACLDefault; !ok || isACL != (x.name == "") {
			return true, nil
		}
		if _, twice := all[prefix+x.name]; twice {
			return true, nil // the one in the inode counts
		}
		value, err := f.xattrValue(ctx, in, x)
		if total += len(value); total > maxXattrTotal && err == nil {
			err = guest.Corrupt("ext4 inode %d: more than %d bytes of xattrs", in.number, maxXattrTotal)
		}
		all[prefix+x.name] = value
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// xattrValue copies a value, as getxattr(2) would give it.
func (f *FS) xattrValue(ctx context.Context, in *inode, x xattr) ([]byte, error) {
	if x.size > maxXattrValue {
		return nil, guest.Corrupt("ext4 inode %d: an xattr of %d bytes", in.number, x.size)
	}
	value := append([]byte{}, x.value...)
	if x.inode != 0 {
		var err error
		if value, err = f.xattrInode(ctx, in, x); err != nil {
			return nil, err
		}
	}
	if x.index == xattrACLAccess || x.index == xattrACLDefault {
		return aclXattr(in, value)
	}
	return value, nil
}

// xattrInode reads a value that fills an inode of its own (ea_inode). The
// value's checksum lies in that inode's time of access; Lustre's older form
// has none, and names its owner in the time of modification.
func (f *FS) xattrInode(ctx context.Context, in *inode, x xattr) ([]byte, error) {
	holder, err := f.anyInode(ctx, x.inode)
	if err != nil {
		return nil, err
	}
	if holder.flags&flagEAInode == 0 || holder.flags&flagInline != 0 || holder.size != int64(x.size) {
		return nil, guest.Corrupt("ext4 inode %d: its xattr's value of %d bytes in inode %d of %d", in.number, x.size, x.inode, holder.size)
	}
	value := make([]byte, x.size)
	if _, err := f.readContent(ctx, holder, value, 0); err != nil {
		return nil, err
	}
	owned := uint32(holder.mtime.Unix()) == in.number && holder.generation == in.generation
	if !owned && crc32c(f.sb.seed, value) != uint32(holder.atime.Unix()) {
		return nil, guest.Corrupt("ext4 inode %d: its xattr in inode %d has a wrong checksum", in.number, x.inode)
	}
	return value, nil
}
