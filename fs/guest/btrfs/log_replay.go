package btrfs

import (
	"context"
	"slices"

	"holdfast/fs/guest"
)

// replayer replays the log of one subvolume the way the kernel does at mount
// (fs/btrfs/tree-log.c), into the changes of dest: first inodes and deletions,
// then new names in directories, then the rest. In the end the links of each
// inode that was touched are counted.
type replayer struct {
	ctx       context.Context
	fs        *FS
	log, dest *tree
	fixup     map[uint64]bool // inodes whose links are to be counted
	budget    int             // of bytes
}

func (r *replayer) all() error {
	for _, stage := range []func(k key, item []byte) error{r.inodeAndDeletions, r.newNames, r.rest} {
		if err := r.stage(stage); err != nil {
			return err
		}
	}
	return r.countLinks()
}

// stage passes the items of the log to do, without those of inodes that have
// no links: what removes their names comes with their directories.
func (r *replayer) stage(do func(k key, item []byte) error) error {
	var failed error
	ignored := uint64(0)
	err := r.fs.scan(r.ctx, r.log, key{}, func(k key, item []byte) bool {
		if k.object < firstFree || k.object > lastFree {
			return true // checksums
		}
		if k.kind == kindInode {
			if ignored = 0; len(item) < inodeLen {
				failed = guest.Corrupt("btrfs inode %d in the log: %d bytes", k.object, len(item))
			} else if le.Uint32(item[40:]) == 0 {
				ignored = k.object
			}
		}
		if failed == nil && k.object != ignored {
			failed = do(k, item)
		}
		if failed == nil && r.dest.changes.bytes > r.budget {
			failed = guest.Corrupt("btrfs: a log that changes more than %d bytes of items", maxReplay)
		}
		return failed == nil
	})
	if err != nil {
		return err
	}
	return failed
}

// get gives an item as replayed so far; nil when there is none.
func (r *replayer) get(k key) ([]byte, error) { return r.fs.find(r.ctx, r.dest, k) }

func (r *replayer) put(k key, item []byte) { r.dest.changes.put(k, item) }

// found is an item that was collected.
type found struct {
	key  key
	item []byte
}

// collect gives the items of an object and kind in a tree, with offsets from
// to.
func (r *replayer) collect(t *tree, object uint64, kind uint8, from, to uint64) (all []found, err error) {
	bytes := 0
	err = r.fs.scan(r.ctx, t, key{object, kind, from}, func(k key, item []byte) bool {
		if !k.is(object, kind) || k.offset > to {
			return false
		}
		all = append(all, found{k, item})
		bytes += len(item) + changeCost
		return bytes < maxReplay
	})
	if err == nil && bytes >= maxReplay {
		err = guest.Corrupt("btrfs: inode %d has too many items to replay", object)
	}
	return all, err
}

// exists tells whether there is an inode, with links or without.
func (r *replayer) exists(inode uint64) (bool, error) {
	b, err := r.get(key{inode, kindInode, 0})
	return len(b) >= inodeLen, err
}

// change changes the item of an inode, if there is one.
func (r *replayer) change(inode uint64, fn func(item []byte)) error {
	k := key{inode, kindInode, 0}
	b, err := r.get(k)
	if err != nil || len(b) < inodeLen {
		return err
	}
	b = slices.Clone(b)
	fn(b)
	r.put(k, b)
	return nil
}

// grow adds to a number in the item of an inode.
func (r *replayer) grow(inode uint64, at int, by int64) error {
	return r.change(inode, func(b []byte) { le.PutUint64(b[at:], uint64(max(int64(le.Uint64(b[at:]))+by, 0))) })
}

// Places of numbers in an inode's item.
const (
	atSize  = 16
	atBytes = 24
)

// inodeAndDeletions is the first stage.
func (r *replayer) inodeAndDeletions(k key, item []byte) error {
	if k.kind != kindInode {
		return nil
	}
	if err := r.deleteXattrs(k.object); err != nil {
		return err
	}
	mode := le.Uint32(item[52:]) & modeType
	if mode == modeDir {
		if err := r.deleteNames(k.object); err != nil {
			return err
		}
	}
	if err := r.putInode(k, item, mode); err != nil {
		return err
	}
	if mode == modeFile {
		// What lies behind the end is as the log says, not as it was.
		b, err := r.get(k)
		if err != nil || len(b) < inodeLen {
			return err
		}
		sector := r.fs.sb.sectorSize
		end := (le.Uint64(b[atSize:]) + sector - 1) &^ (sector - 1)
		dropped, err := r.drop(k.object, end, 1<<63-1)
		if err != nil {
			return err
		}
		if err := r.grow(k.object, atBytes, -dropped); err != nil {
			return err
		}
	}
	r.fixup[k.object] = true
	return nil
}

// putInode sets an inode. Of one that is there already the bytes in use stay,
// and a directory's size, to be counted while names come and go; with the
// generation 0 the log only says that there is such an inode.
func (r *replayer) putInode(k key, item []byte, mode uint32) error {
	old, err := r.get(k)
	if err != nil {
		return err
	}
	b := slices.Clone(item)
	generation := le.Uint64(b)
	if generation == 0 {
		le.PutUint64(b, r.fs.sb.generation+1)
	}
	if len(old) < inodeLen {
		le.PutUint64(b[atBytes:], 0)
		if mode == modeDir {
			le.PutUint64(b[atSize:], 0)
		}
		r.put(k, b)
		return nil
	}
	oldMode := le.Uint32(old[52:]) & modeType
	if generation == 0 {
		if size := le.Uint64(item[atSize:]); mode == modeFile && oldMode == modeFile && size != 0 {
			return r.change(k.object, func(b []byte) { le.PutUint64(b[atSize:], size) })
		}
		return nil
	}
	copy(b[atBytes:][:8], old[atBytes:])
	if mode == modeDir {
		le.PutUint64(b[atSize:], 0)
		if oldMode == modeDir {
			copy(b[atSize:][:8], old[atSize:])
		}
	}
	r.put(k, b)
	return nil
}

// deleteXattrs drops the xattrs of an inode that the log does not have: it has
// all of them.
func (r *replayer) deleteXattrs(inode uint64) error {
	have, err := r.collect(r.dest, inode, kindXattr, 0, lastOffset)
	if err != nil {
		return err
	}
	for _, x := range have {
		logged, err := r.fs.find(r.ctx, r.log, x.key)
		if err != nil {
			return err
		}
		for e, rest := parseEntry(x.item); e != nil; e, rest = parseEntry(rest) {
			if findEntry(logged, e.name) == nil {
				if err := r.removeEntry(x.key, e.name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rest is the last stage.
func (r *replayer) rest(k key, item []byte) error {
	switch k.kind {
	case kindXattr:
		r.put(k, slices.Clone(item))
	case kindInodeRef, kindInodeExtref:
		return r.putRefs(k, item)
	case kindExtentData:
		return r.putExtent(k, item)
	}
	return nil
}

// countLinks sets the links of each inode that was touched to the number of
// its names. What is in a directory that has lost its name loses its own.
func (r *replayer) countLinks() error {
	for len(r.fixup) > 0 {
		inode := uint64(0)
		for n := range r.fixup {
			inode = max(inode, n)
		}
		delete(r.fixup, inode)
		links := 0
		for _, kind := range []uint8{kindInodeRef, kindInodeExtref} {
			items, err := r.collect(r.dest, inode, kind, 0, lastOffset)
			if err != nil {
				return err
			}
			for _, x := range items {
				links += len(parseRefs(x.key, x.item))
			}
		}
		directory := false
		err := r.change(inode, func(b []byte) {
			le.PutUint32(b[40:], uint32(links))
			directory = le.Uint32(b[52:])&modeType == modeDir
		})
		if err == nil && links == 0 && directory {
			err = r.deleteRange(inode, 0, lastOffset, nil)
		}
		if err != nil {
			return err
		}
	}
	return r.ctx.Err()
}
