package btrfs

import (
	"context"
	"errors"

	"holdfast/fs/guest"
)

// Files implements guest.Filesystem, in the order of the subvolumes' numbers
// and in each of the inodes'. A file that snapshots share comes with each of
// them. Files that can't be read for damage, and those without a name, are left
// out. Damage in a tree ends its subvolume, and is the error in the end.
func (f *FS) Files(ctx context.Context, fn func(n guest.Node, size int64, e guest.Extent) bool) error {
	var damage error
	for next := uint64(treeTop); next != 0; {
		id, err := f.nextVolume(ctx, next)
		if err != nil {
			return err
		}
		if id == 0 {
			break
		}
		stopped, err := f.volumeFiles(ctx, id, fn)
		if stopped {
			return nil
		}
		if err != nil && !errors.Is(err, guest.ErrCorrupt) && !errors.Is(err, guest.ErrUnsupported) {
			return err
		}
		if err != nil && damage == nil {
			damage = err
		}
		next = volumeBehind(id)
	}
	return damage
}

// volumeBehind gives the number that may follow that of a subvolume; 0 for
// none.
func volumeBehind(id uint64) uint64 {
	switch id {
	case treeTop:
		return firstFree
	case lastFree:
		return 0
	}
	return id + 1
}

// nextVolume gives the first subvolume from a number on; 0 for none. Those that
// can't be read, or were deleted, are passed over.
func (f *FS) nextVolume(ctx context.Context, from uint64) (uint64, error) {
	for from != 0 {
		id := uint64(0)
		err := f.scan(ctx, &f.root, key{from, kindRoot, 0}, func(k key, _ []byte) bool {
			if k.kind == kindRoot && isSubvolume(k.object) {
				id = k.object
			}
			return id == 0 && k.object <= lastFree
		})
		if err != nil || id == 0 {
			return 0, err
		}
		_, err = f.volume(ctx, id)
		if err == nil || !isAbsent(err) && !errors.Is(err, guest.ErrCorrupt) {
			return id, err
		}
		from = volumeBehind(id)
	}
	return 0, nil
}

// fileBatch is how many inodes are collected between two walks of a tree.
const fileBatch = 1024

// volumeFiles gives the files of one subvolume.
func (f *FS) volumeFiles(ctx context.Context, id uint64, fn func(guest.Node, int64, guest.Extent) bool) (stopped bool, err error) {
	t, err := f.volume(ctx, id)
	if err != nil {
		return false, err
	}
	for next := uint64(firstFree); next != 0; {
		var batch []*inode
		from := next
		next = 0
		err := f.scan(ctx, t, key{from, kindInode, 0}, func(k key, item []byte) bool {
			if k.kind != kindInode || k.object > lastFree {
				return k.object <= lastFree
			}
			if in, err := parseInode(t, k.object, item); err == nil && in.is(modeFile) && in.links() > 0 {
				batch = append(batch, in)
			}
			if len(batch) == fileBatch {
				next = k.object + 1
			}
			return next == 0
		})
		for _, in := range batch {
			stopped, e := f.fileRuns(ctx, in, fn)
			if stopped || e != nil {
				return stopped, e
			}
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// fileRuns gives the runs of one file. Damage ends the file, not the walk.
func (f *FS) fileRuns(ctx context.Context, in *inode, fn func(guest.Node, int64, guest.Extent) bool) (stopped bool, err error) {
	n, err := nodeOf(in.tree.id, in.number)
	if err != nil {
		return false, err
	}
	err = f.eachRun(ctx, in, 0, func(e guest.Extent) bool {
		if e.Place >= 0 && !e.Hole {
			stopped = !fn(n, in.size, e)
		}
		return !stopped
	})
	if errors.Is(err, guest.ErrCorrupt) {
		err = nil
	}
	return stopped, err
}
