package xfs

import "holdfast/fs/guest"

// ACLs lie on disk as a count 4, then entries: tag 4, id 4, permissions 2 and 2
// unused (xfs_acl); getxattr(2) shows a version 4, then entries: tag 2,
// permissions 2, id 4 (posix_acl_xattr_entry), little-endian.
const (
	aclXattrVersion = 2
	aclUser         = 0x02
	aclGroup        = 0x08
	aclHead         = 4
	aclEntry        = 12
)

// aclXattr turns an ACL's form on disk into that of getxattr(2).
func aclXattr(in *inode, disk []byte) ([]byte, error) {
	if len(disk) < aclHead || uint64(be.Uint32(disk)) > uint64(len(disk)-aclHead)/aclEntry {
		return nil, guest.Corrupt("xfs inode %d: an ACL of %d bytes", in.number, len(disk))
	}
	count := be.Uint32(disk)
	out := le.AppendUint32(nil, aclXattrVersion)
	for e := disk[aclHead:]; count > 0; count-- {
		tag, id := be.Uint32(e), ^uint32(0)
		if tag == aclUser || tag == aclGroup {
			id = be.Uint32(e[4:])
		}
		out = le.AppendUint16(out, uint16(tag))
		out = le.AppendUint16(out, be.Uint16(e[8:]))
		out = le.AppendUint32(out, id)
		e = e[aclEntry:]
	}
	return out, nil
}
