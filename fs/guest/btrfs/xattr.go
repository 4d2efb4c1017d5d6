package btrfs

import (
	"context"

	"holdfast/fs/guest"
)

// maxXattrs is the most that a file's xattrs may take; listxattr(2) can't list
// more than 64 KiB of names.
const maxXattrs = 4 << 20

// Xattrs implements guest.Filesystem. They lie on disk as getxattr(2) shows
// them, ACLs as well, each by the hash of its name.
func (f *FS) Xattrs(ctx context.Context, n guest.Node) (map[string][]byte, error) {
	all := map[string][]byte{}
	if n&emptyFlag != 0 {
		return all, nil
	}
	in, err := f.inode(ctx, n)
	if err != nil {
		return nil, err
	}
	var damage error
	total := 0
	err = f.scan(ctx, in.tree, key{in.number, kindXattr, 0}, func(k key, item []byte) bool {
		if !k.is(in.number, kindXattr) {
			return false
		}
		total += len(item)
		e, rest := parseEntry(item)
		for e != nil {
			all[e.name] = []byte(e.data)
			item = rest
			e, rest = parseEntry(rest)
		}
		if len(item) > 0 || total > maxXattrs {
			damage = guest.Corrupt("btrfs inode %d of subvolume %d: xattrs of %d bytes, %d of the last item left", in.number, in.tree.id, total, len(item))
		}
		return damage == nil
	})
	if err == nil {
		err = damage
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}
