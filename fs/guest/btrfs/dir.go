package btrfs

import (
	"context"
	"fmt"
	"strings"

	"holdfast/fs/guest"
)

// A directory has each name twice: by its hash, for look-ups (an item may hold
// several), and by a number that counts up, for listings. The number is the
// cookie. Both hold the same (btrfs_dir_item), and so do xattrs:
//
//	0 target (key)  17 generation 8  25 length of data 2  27 length of name 2
//	29 type 1  30 name, data
const (
	entryHead  = 30
	maxName    = 255
	firstIndex = 2
)

type entry struct {
	target     key
	kind       byte
	name, data string
	bytes      []byte // all of it
}

// entryTypes maps the type of an entry.
var entryTypes = [...]guest.Type{
	1: guest.Regular, 2: guest.Directory, 3: guest.CharDevice, 4: guest.BlockDevice, 5: guest.FIFO, 6: guest.Socket, 7: guest.Symlink,
}

// parseEntry takes the first entry off b; nil when there is no whole one.
func parseEntry(b []byte) (e *entry, rest []byte) {
	if len(b) < entryHead {
		return nil, nil
	}
	data, name := int(le.Uint16(b[25:])), int(le.Uint16(b[27:]))
	if entryHead+name+data > len(b) {
		return nil, nil
	}
	e = &entry{target: parseKey(b), kind: b[29], name: string(b[entryHead:][:name]), data: string(b[entryHead+name:][:data])}
	n := entryHead + name + data
	e.bytes = b[:n:n]
	return e, b[n:]
}

// findEntry finds an entry by name among those of an item.
func findEntry(item []byte, name string) *entry {
	for e, rest := parseEntry(item); e != nil; e, rest = parseEntry(rest) {
		if e.name == name {
			return e
		}
	}
	return nil
}

// resolve gives what an entry of a directory leads to.
func (f *FS) resolve(ctx context.Context, dir *inode, e *entry) (guest.Node, guest.Type, error) {
	switch {
	case e.name == "" || len(e.name) > maxName || e.name == "." || e.name == ".." || strings.ContainsAny(e.name, "/\x00"):
	case e.target.kind == kindInode && e.target.object >= firstFree && int(e.kind) < len(entryTypes):
		n, err := nodeOf(dir.tree.id, e.target.object)
		return n, entryTypes[e.kind], err
	case e.target.kind == kindRoot && isSubvolume(e.target.object):
		n, err := f.entered(ctx, dir.tree, dir.number, e.name, e.target.object)
		return n, guest.Directory, err
	}
	return 0, 0, guest.Corrupt("btrfs directory %d of subvolume %d: %.40q leads to %d, of type %d and kind %d",
		dir.number, dir.tree.id, e.name, e.target.object, e.kind, e.target.kind)
}

// Lookup implements guest.Filesystem.
func (f *FS) Lookup(ctx context.Context, dir guest.Node, name string) (guest.Node, error) {
	absent := fmt.Errorf("btrfs: %.260q: %w", name, guest.ErrNotExist)
	if dir&emptyFlag != 0 || len(name) > maxName {
		return 0, absent
	}
	in, err := f.typed(ctx, dir, modeDir)
	if err != nil {
		return 0, err
	}
	item, err := f.find(ctx, in.tree, key{in.number, kindDirItem, nameHash(name)})
	if err != nil {
		return 0, err
	}
	e := findEntry(item, name)
	if e == nil {
		return 0, absent
	}
	n, _, err := f.resolve(ctx, in, e)
	return n, err
}

// ReadDir implements guest.Filesystem. Names come in the order in which they
// were made. Damaged entries are passed over, and the first damage is the
// error in the end.
func (f *FS) ReadDir(ctx context.Context, dir guest.Node, cookie uint64, fn func(guest.Entry) bool) error {
	if dir&emptyFlag != 0 || cookie == lastOffset {
		return nil
	}
	in, err := f.typed(ctx, dir, modeDir)
	if err != nil {
		return err
	}
	var damage error
	stopped := false
	err = f.scan(ctx, in.tree, key{in.number, kindDirIndex, max(cookie+1, firstIndex)}, func(k key, item []byte) bool {
		if !k.is(in.number, kindDirIndex) {
			return false
		}
		err := guest.Corrupt("btrfs directory %d of subvolume %d: entry %d is cut off", in.number, in.tree.id, k.offset)
		if e, _ := parseEntry(item); e != nil {
			out := guest.Entry{Name: e.name, Cookie: k.offset}
			if out.Node, out.Type, err = f.resolve(ctx, in, e); err == nil {
				stopped = !fn(out)
			}
		}
		if err != nil && damage == nil {
			damage = err
		}
		return !stopped && ctx.Err() == nil
	})
	if stopped || err != nil {
		return err
	}
	return damage
}
