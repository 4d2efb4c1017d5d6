package ext4

import "holdfast/fs/guest"

// ACLs lie on disk in a shorter form (ext4_acl_entry, version 1) than in the
// xattr that Linux shows (posix_acl_xattr_entry, version 2): entries whose tag
// needs no id have none.
const (
	aclDiskVersion  = 1
	aclXattrVersion = 2
	aclUser         = 0x02
	aclGroup        = 0x08
)

// aclXattr turns an ACL's form on disk into that of getxattr(2).
func aclXattr(in *inode, disk []byte) ([]byte, error) {
	if len(disk) < 4 || le.Uint32(disk) != aclDiskVersion {
		return nil, guest.Corrupt("ext4 inode %d: an ACL of an unknown version", in.number)
	}
	out := le.AppendUint32(nil, aclXattrVersion)
	for rest := disk[4:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, guest.Corrupt("ext4 inode %d: an ACL ends in an entry", in.number)
		}
		tag, id := le.Uint16(rest), ^uint32(0)
		out = append(out, rest[:4]...) // tag and permissions
		rest = rest[4:]
		if tag == aclUser || tag == aclGroup {
			if len(rest) < 4 {
				return nil, guest.Corrupt("ext4 inode %d: an ACL ends in an entry", in.number)
			}
			id, rest = le.Uint32(rest), rest[4:]
		}
		out = le.AppendUint32(out, id)
	}
	return out, nil
}
