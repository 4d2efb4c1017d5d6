package btrfs

import (
	"bytes"
	"slices"

	"holdfast/fs/guest"
)

// Names of an inode: by directory, index 8, length 2, name; where these get too
// many, by a hash, directory 8, index 8, length 2, name.
const (
	refHead    = 10
	extrefHead = 18
)

type ref struct {
	parent, index uint64
	name          string
}

// parseRefs gives the names in an item, up to the first that is cut off.
func parseRefs(k key, b []byte) (all []ref) {
	head := refHead
	if k.kind == kindInodeExtref {
		head = extrefHead
	}
	for len(b) >= head {
		r := ref{parent: k.offset}
		h := b
		if k.kind == kindInodeExtref {
			r.parent, h = le.Uint64(b), b[8:]
		}
		r.index = le.Uint64(h)
		n := head + int(le.Uint16(h[8:]))
		if n > len(b) {
			break
		}
		r.name = string(b[head:n])
		all, b = append(all, r), b[n:]
	}
	return all
}

func buildRefs(kind uint8, all []ref) []byte {
	var b []byte
	for _, r := range all {
		if kind == kindInodeExtref {
			b = le.AppendUint64(b, r.parent)
		}
		b = le.AppendUint64(b, r.index)
		b = le.AppendUint16(b, uint16(len(r.name)))
		b = append(b, r.name...)
	}
	return b
}

// removeEntry takes a name out of an item of entries.
func (r *replayer) removeEntry(k key, name string) error {
	item, err := r.get(k)
	if err != nil {
		return err
	}
	e := findEntry(item, name)
	if e == nil {
		return nil
	}
	i := bytes.Index(item, e.bytes)
	left := slices.Delete(slices.Clone(item), i, i+len(e.bytes))
	if len(left) == 0 {
		left = nil
	}
	r.put(k, left)
	return nil
}

// removeRef takes a name of an inode out of its references, and gives its index.
func (r *replayer) removeRef(inode, dir uint64, name string) (index uint64, ok bool, err error) {
	for _, k := range []key{{inode, kindInodeRef, dir}, {inode, kindInodeExtref, extrefHash(dir, name)}} {
		item, err := r.get(k)
		if err != nil {
			return 0, false, err
		}
		all := parseRefs(k, item)
		i := slices.IndexFunc(all, func(x ref) bool { return x.parent == dir && x.name == name })
		if i < 0 {
			continue
		}
		index = all[i].index
		r.put(k, buildRefs(k.kind, slices.Delete(all, i, i+1)))
		return index, true, nil
	}
	return 0, false, nil
}

// unlink takes a name out of a directory. index is the entry's where it is
// known, else that of the inode's reference counts.
func (r *replayer) unlink(dir, inode uint64, name string, index uint64) error {
	if err := r.removeEntry(key{dir, kindDirItem, nameHash(name)}, name); err != nil {
		return err
	}
	at, ok, err := r.removeRef(inode, dir, name)
	if err != nil {
		return err
	}
	if ok {
		index = at
	}
	if err := r.removeEntry(key{dir, kindDirIndex, index}, name); err != nil {
		return err
	}
	r.fixup[inode] = true
	return r.grow(dir, atSize, -2*int64(len(name)))
}

// link puts a name into a directory.
func (r *replayer) link(dir, inode uint64, name string, index uint64) error {
	b, err := r.get(key{inode, kindInode, 0})
	if err != nil || len(b) < inodeLen {
		return err
	}
	kind := slices.Index(entryTypes[:], types[le.Uint32(b[52:])&modeType])
	e := make([]byte, entryHead, entryHead+len(name))
	le.PutUint64(e, inode)
	e[8] = kindInode
	le.PutUint64(e[17:], r.fs.sb.generation+1)
	le.PutUint16(e[27:], uint16(len(name)))
	e[29] = byte(max(kind, 0))
	e = append(e, name...)
	byName := key{dir, kindDirItem, nameHash(name)}
	item, err := r.get(byName)
	if err != nil {
		return err
	}
	if findEntry(item, name) != nil {
		return guest.Corrupt("btrfs: %.40q is in directory %d already", name, dir)
	}
	r.put(byName, append(slices.Clone(item), e...))
	r.put(key{dir, kindDirIndex, index}, e)
	return r.grow(dir, atSize, 2*int64(len(name)))
}

// deleteNames drops what a directory has in the ranges that are whole in the
// log, and the log has not.
func (r *replayer) deleteNames(dir uint64) error {
	if ok, err := r.exists(dir); err != nil || !ok {
		return err
	}
	ranges, err := r.collect(r.log, dir, kindDirLogIndex, 0, lastOffset)
	if err != nil {
		return err
	}
	for _, x := range ranges {
		if len(x.item) < 8 {
			return guest.Corrupt("btrfs directory %d in the log: a range of %d bytes", dir, len(x.item))
		}
		if err := r.deleteRange(dir, x.key.offset, le.Uint64(x.item), r.log); err != nil {
			return err
		}
	}
	return nil
}

// deleteRange drops the entries with indexes from to that log, if there is one,
// does not have.
func (r *replayer) deleteRange(dir, from, to uint64, log *tree) error {
	have, err := r.collect(r.dest, dir, kindDirIndex, from, to)
	if err != nil {
		return err
	}
	for _, x := range have {
		e, _ := parseEntry(x.item)
		if e == nil || e.target.kind != kindInode {
			continue
		}
		if log != nil {
			item, err := r.fs.find(r.ctx, log, x.key)
			if err != nil {
				return err
			}
			if findEntry(item, e.name) != nil {
				continue
			}
		}
		if ok, err := r.exists(e.target.object); err != nil || !ok {
			return err
		}
		if err := r.unlink(dir, e.target.object, e.name, x.key.offset); err != nil {
			return err
		}
	}
	return nil
}

// newNames is the second stage: names that the log has for inodes whose own
// references are not in it.
func (r *replayer) newNames(k key, item []byte) error {
	if k.kind != kindDirIndex {
		return nil
	}
	e, _ := parseEntry(item)
	if e == nil {
		return guest.Corrupt("btrfs directory %d in the log: an entry is cut off", k.object)
	}
	exists, err := r.exists(e.target.object)
	if err != nil {
		return err
	}
	there := true
	for _, at := range []key{{k.object, kindDirItem, nameHash(e.name)}, k} {
		same, err := r.dropOther(at, e, exists)
		if err != nil {
			return err
		}
		there = there && same
	}
	if there {
		return nil
	}
	if logged, err := r.refLogged(ref{k.object, k.offset, e.name}, e.target.object); err != nil || logged {
		return err // it comes with the reference
	}
	byName, err := r.get(key{k.object, kindDirItem, nameHash(e.name)})
	if err != nil || !exists || findEntry(byName, e.name) != nil {
		return err
	}
	if err := r.addRef(ref{k.object, k.offset, e.name}, e.target.object); err != nil {
		return err
	}
	r.fixup[e.target.object] = true
	return r.link(k.object, e.target.object, e.name, k.offset)
}

// dropOther drops the entry of that name at a key if it leads elsewhere than e,
// whose inode exists or not; same tells that it leads to the same.
func (r *replayer) dropOther(at key, e *entry, exists bool) (same bool, err error) {
	item, err := r.get(at)
	if err != nil {
		return false, err
	}
	have := findEntry(item, e.name)
	switch {
	case have == nil:
		return false, nil
	case have.target == e.target && have.kind == e.kind:
		return true, nil
	case !exists:
		return false, nil
	}
	return false, r.dropEntry(at, have)
}

// dropEntry unlinks what an entry leads to.
func (r *replayer) dropEntry(at key, e *entry) error {
	index := at.offset
	if at.kind != kindDirIndex {
		index = 0 // that of the reference
	}
	return r.unlink(at.object, e.target.object, e.name, index)
}

// refLogged tells whether the log has the reference of an inode.
func (r *replayer) refLogged(x ref, inode uint64) (bool, error) {
	for _, k := range []key{{inode, kindInodeRef, x.parent}, {inode, kindInodeExtref, extrefHash(x.parent, x.name)}} {
		item, err := r.fs.find(r.ctx, r.log, k)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(parseRefs(k, item), func(y ref) bool { return y.parent == x.parent && y.name == x.name }) {
			return true, nil
		}
	}
	return false, nil
}

// addRef adds a reference to an inode, where there is room for it.
func (r *replayer) addRef(x ref, inode uint64) error {
	k := key{inode, kindInodeRef, x.parent}
	item, err := r.get(k)
	if err != nil {
		return err
	}
	if len(item)+refHead+len(x.name) > int(r.fs.sb.nodeSize)/2 {
		k = key{inode, kindInodeExtref, extrefHash(x.parent, x.name)}
		if item, err = r.get(k); err != nil {
			return err
		}
	}
	r.put(k, append(slices.Clone(item), buildRefs(k.kind, []ref{x})...))
	return nil
}
