package btrfs

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// The item of a tree (btrfs_root_item):
//
//	160 generation  168 root directory  176 place  216 references 4  238 level 1
const (
	rootItemLen = 239
	maxRoots    = 4096 // trees whose place is remembered
)

// A node number is made of its subvolume's number in 23 bits, 0 for the top
// level, and the inode's in 40; both only ever grow, by one for each that is
// made. With the highest bit it is what the kernel shows in place of a
// subvolume that is not there (in a snapshot of the subvolume around it): an
// empty directory, by the inode of the directory that has its name.
const (
	inodeBits  = 40
	maxInode   = 1<<inodeBits - 1
	maxVolume  = 1<<(63-inodeBits) - 1
	emptyFlag  = 1 << 63
	emptyPerms = 0o755
)

// nodeOf gives the number of an inode of a subvolume.
func nodeOf(volume, inode uint64) (guest.Node, error) {
	if volume == treeTop {
		volume = 0
	}
	if inode > maxInode || volume > maxVolume {
		return 0, fmt.Errorf("btrfs: inode %d of subvolume %d: numbers this large are %w", inode, volume, guest.ErrUnsupported)
	}
	return guest.Node(volume<<inodeBits | inode), nil
}

// split is the reverse of nodeOf.
func split(n guest.Node) (volume, inode uint64, empty bool) {
	volume, inode = uint64(n)&^uint64(emptyFlag)>>inodeBits, uint64(n)&maxInode
	if volume == 0 {
		volume = treeTop
	}
	return volume, inode, n&emptyFlag != 0
}

// tree finds a tree by its number; fs.ErrNotExist when there is none, and for
// a subvolume that was deleted.
func (f *FS) tree(ctx context.Context, id uint64) (*tree, error) {
	f.mu.Lock()
	t := f.trees[id]
	f.mu.Unlock()
	if t != nil {
		return t, nil
	}
	// The kernel takes the last item: that of a snapshot has an offset.
	var item []byte
	err := f.scanBack(ctx, &f.root, key{id, kindRoot, lastOffset}, func(k key, b []byte) bool {
		if k.is(id, kindRoot) {
			item = b
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("btrfs tree %d: %w", int64(id), err)
	}
	if t, err = parseRoot(id, item); err != nil {
		return nil, err
	}
	if f.log != nil {
		t.changes = f.log.trees[id]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.trees) >= maxRoots {
		clear(f.trees)
	}
	f.trees[id] = t
	return t, nil
}

func parseRoot(id uint64, b []byte) (*tree, error) {
	deleted := len(b) >= rootItemLen && le.Uint32(b[216:]) == 0 && id != treeLog
	if b == nil || deleted {
		return nil, fmt.Errorf("btrfs tree %d: %w", int64(id), guest.ErrNotExist)
	}
	if len(b) < rootItemLen || b[238] >= maxLevel {
		return nil, guest.Corrupt("btrfs tree %d: an item of %d bytes", int64(id), len(b))
	}
	return &tree{id: id, root: pointer{le.Uint64(b[176:]), le.Uint64(b[160:]), b[238]}, dir: le.Uint64(b[168:])}, nil
}

// volume finds a subvolume.
func (f *FS) volume(ctx context.Context, id uint64) (*tree, error) {
	if !isSubvolume(id) {
		return nil, guest.ErrNotExist
	}
	t, err := f.tree(ctx, id)
	if err == nil && (t.dir < firstFree || t.dir > lastFree) {
		err = guest.Corrupt("btrfs subvolume %d: its root directory is inode %d", id, t.dir)
	}
	return t, err
}

// entered gives the node that a directory's entry for a subvolume leads to:
// its root, if the subvolume says that this is its place.
func (f *FS) entered(ctx context.Context, parent *tree, dir uint64, name string, child uint64) (guest.Node, error) {
	// Item: directory 8, index 8, length 2, name.
	ref, err := f.find(ctx, &f.root, key{parent.id, kindRootRef, child})
	if err != nil {
		return 0, err
	}
	if len(ref) >= 18 && le.Uint64(ref) == dir && string(ref[18:]) == name {
		t, err := f.volume(ctx, child)
		if err == nil {
			return nodeOf(child, t.dir)
		}
		if !isAbsent(err) {
			return 0, err
		}
	}
	n, err := nodeOf(parent.id, dir)
	return n | emptyFlag, err
}

// defaultVolume gives the subvolume that the kernel mounts without options.
func (f *FS) defaultVolume(ctx context.Context) (uint64, error) {
	item, err := f.find(ctx, &f.root, key{treeRootDir, kindDirItem, nameHash("default")})
	if err != nil || item == nil {
		return treeTop, err
	}
	for e, rest := parseEntry(item); e != nil; e, rest = parseEntry(rest) {
		if e.name == "default" && e.target.kind == kindRoot {
			return e.target.object, nil
		}
	}
	return treeTop, nil
}
