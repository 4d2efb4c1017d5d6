package xfs

import (
	"context"

	"holdfast/fs/guest"
)

// Extended attributes (Extended Attributes): in the inode, total size 2,
// entries 1, unused 1, then for each entry the length of its name 1, that of
// its value 1, flags 1, name, value; or in leaves (xattr_leaf.go).
const (
	attrLocal      = 0x01 // in leaves: the value is there
	attrRoot       = 0x02
	attrSecure     = 0x04
	attrParent     = 0x08 // a parent pointer, which is no xattr
	attrIncomplete = 0x80

	shortAttrHead = 4
	maxXattrValue = 64 << 10 // as getxattr(2) has it
	maxXattrTotal = 16 << 20
)

// The names that ACLs are kept under, in the root namespace. Linux shows both.
const (
	aclAccess  = "SGI_ACL_FILE"
	aclDefault = "SGI_ACL_DEFAULT"
)

// xattrSet collects an inode's xattrs.
type xattrSet struct {
	in     *inode
	values map[string][]byte
	bytes  int
}

// Xattrs implements guest.Filesystem.
func (f *FS) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return nil, err
	}
	set := xattrSet{in: in, values: map[string][]byte{}}
	switch {
	case len(in.xattr.bytes) == 0:
	case in.xattr.format == formatLocal:
		err = set.addShort(in.xattr.bytes)
	case in.xattr.format == formatExtents && in.xattr.extents == 0:
	default:
		err = f.eachLeafXattr(ctx, in, &set)
	}
	if err != nil {
		return nil, err
	}
	return set.values, nil
}

// addShort adds the xattrs of an inode that lie in itself.
func (s *xattrSet) addShort(b []byte) error {
	if len(b) < shortAttrHead {
		return guest.Corrupt("xfs inode %d: xattrs in %d bytes", s.in.number, len(b))
	}
	count := int(b[2])
	for b = b[shortAttrHead:]; count > 0; count-- {
		if len(b) < 3 || len(b) < 3+int(b[0])+int(b[1]) {
			return guest.Corrupt("xfs inode %d: an xattr ends behind the inode", s.in.number)
		}
		name, value := b[3:3+int(b[0])], b[3+int(b[0]):][:b[1]]
		if err := s.add(b[2], name, value); err != nil {
			return err
		}
		b = b[3+len(name)+len(value):]
	}
	return nil
}

// add copies one xattr, under the name or the names that Linux shows.
func (s *xattrSet) add(flags byte, name, value []byte) error {
	prefix := "user."
	switch {
	case flags&(attrParent|attrIncomplete) != 0:
		return nil
	case flags&attrRoot != 0:
		prefix = "trusted."
		if err := s.addACL(string(name), value); err != nil {
			return err
		}
	case flags&attrSecure != 0:
		prefix = "security."
	}
	return s.put(prefix+string(name), append([]byte{}, value...))
}

// put takes a value over.
func (s *xattrSet) put(name string, value []byte) error {
	if s.bytes += len(name) + len(value); s.bytes > maxXattrTotal {
		return guest.Corrupt("xfs inode %d: more than %d bytes of xattrs", s.in.number, maxXattrTotal)
	}
	s.values[name] = value
	return nil
}

// addACL adds what a name stands for, if it is that of an ACL.
func (s *xattrSet) addACL(name string, value []byte) error {
	shown := map[string]string{aclAccess: "system.posix_acl_access", aclDefault: "system.posix_acl_default"}[name]
	if shown == "" {
		return nil
	}
	acl, err := aclXattr(s.in, value)
	if err != nil {
		return err
	}
	return s.put(shown, acl)
}
