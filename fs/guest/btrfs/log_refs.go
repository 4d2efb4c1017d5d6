package btrfs

import (
	"slices"
)

// putRefs sets the references of an inode in one item as the log has them, and
// puts its names into their directories. Directories that were not logged and
// are not there are passed over.
func (r *replayer) putRefs(k key, item []byte) error {
	if ok, err := r.exists(k.object); err != nil || !ok {
		return err
	}
	refs := parseRefs(k, item)
	for _, x := range refs {
		ok, err := r.exists(x.parent)
		if err != nil {
			return err
		}
		if !ok {
			if k.kind == kindInodeRef {
				return nil
			}
			continue
		}
		if there, err := r.inDirectory(x, k.object); err != nil {
			return err
		} else if there {
			continue
		}
		if x.parent == k.object {
			return nil // the root's own
		}
		if err := r.clearWay(x, k.object); err != nil {
			return err
		}
		if err := r.link(x.parent, k.object, x.name, x.index); err != nil {
			return err
		}
	}
	if err := r.dropUnlogged(k, func(y ref) (bool, error) {
		return slices.ContainsFunc(refs, func(x ref) bool { return x.parent == y.parent && x.name == y.name }), nil
	}); err != nil {
		return err
	}
	r.put(k, slices.Clone(item))
	return nil
}

// inDirectory tells whether a directory has a name of an inode in both ways.
func (r *replayer) inDirectory(x ref, inode uint64) (bool, error) {
	for _, k := range []key{{x.parent, kindDirIndex, x.index}, {x.parent, kindDirItem, nameHash(x.name)}} {
		item, err := r.get(k)
		if err != nil {
			return false, err
		}
		if e := findEntry(item, x.name); e == nil || e.target.object != inode {
			return false, nil
		}
	}
	return true, nil
}

// clearWay drops what is in the way of a name: names of the inode in the same
// directory that the log does not have, and entries of that name or index.
func (r *replayer) clearWay(x ref, inode uint64) error {
	for _, k := range []key{{inode, kindInodeRef, x.parent}, {inode, kindInodeExtref, extrefHash(x.parent, x.name)}} {
		err := r.dropUnlogged(k, func(y ref) (bool, error) {
			if y.parent != x.parent {
				return true, nil
			}
			return r.refLogged(y, inode)
		})
		if err != nil {
			return err
		}
	}
	for _, k := range []key{{x.parent, kindDirIndex, x.index}, {x.parent, kindDirItem, nameHash(x.name)}} {
		item, err := r.get(k)
		if err != nil {
			return err
		}
		if e := findEntry(item, x.name); e != nil {
			if err := r.dropEntry(k, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropUnlogged unlinks the names in an item of references for which keep is not
// true.
func (r *replayer) dropUnlogged(k key, keep func(ref) (bool, error)) error {
	item, err := r.get(k)
	if err != nil {
		return err
	}
	for _, y := range parseRefs(k, item) {
		ok, err := keep(y)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := r.unlink(y.parent, k.object, y.name, y.index); err != nil {
			return err
		}
	}
	return nil
}
