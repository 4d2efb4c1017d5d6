package ext4

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
)

// maxDirBytes bounds the size of a directory: what a hash tree of three
// levels, in blocks of 64 KiB, is ever filled with.
const maxDirBytes = 64 << 30

// directory reads the inode of a directory whose names can be read.
func (f *FS) directory(ctx context.Context, n guest.Node) (*inode, error) {
	in, err := f.inode(ctx, n)
	switch {
	case err != nil:
		return nil, err
	case !in.is(modeDir):
		return nil, fmt.Errorf("ext4 inode %d is not a directory: %w", in.number, guest.ErrNotExist)
	case in.encrypted():
		return nil, fmt.Errorf("ext4 directory %d: encrypted names are %w", in.number, guest.ErrUnsupported)
	}
	return in, nil
}

// ReadDir implements guest.Filesystem. Names come as they lie on disk, those
// of fast commits last; a cookie is the place behind an entry. Damaged blocks
// are passed over, and the first damage is the error in the end.
func (f *FS) ReadDir(ctx context.Context, dir guest.Node, cookie uint64, fn func(guest.Entry) bool) error {
	in, err := f.directory(ctx, dir)
	if err != nil {
		return err
	}
	more := true
	if cookie < addedCookie {
		err = f.eachDirent(ctx, in, int64(cookie), func(e dirent) bool {
			more = fn(guest.Entry{Name: string(e.name), Node: guest.Node(e.inode), Type: f.direntType(e.kind), Cookie: uint64(e.end)})
			return more
		})
	}
	if more {
		in.changes.eachAdded(cookie, fn)
	}
	if !more {
		return nil // who stopped early saw nothing of the damage
	}
	return err
}

// eachDirent calls fn for the entries of a directory that end behind from,
// but for those that fast commits took away, until fn returns false.
func (f *FS) eachDirent(ctx context.Context, in *inode, from int64, fn func(dirent) bool) error {
	if in.changes != nil && in.changes.fresh {
		return nil
	}
	wanted := func(e dirent) bool {
		if e.end <= from || in.changes.removed(e.name) {
			return true
		}
		return fn(e)
	}
	if in.flags&flagInline != 0 {
		return f.eachInlineDirent(ctx, in, wanted)
	}
	return f.eachBlockDirent(ctx, in, from, wanted)
}

// eachInlineDirent walks a directory that lies in its inode: 4 bytes name its
// parent, and the rest holds entries, as does the xattr on its own.
func (f *FS) eachInlineDirent(ctx context.Context, in *inode, fn func(dirent) bool) error {
	more, err := f.eachRecord(in, in.mapping[4:], 4, fn)
	if err != nil || !more {
		return err
	}
	rest, err := f.inlineRest(ctx, in)
	if err != nil {
		return err
	}
	_, err = f.eachRecord(in, rest, inodeMapLen, fn)
	return err
}

// eachBlockDirent walks a directory's blocks, from that of from on. It goes on
// behind damage and gives the first error in the end.
func (f *FS) eachBlockDirent(ctx context.Context, in *inode, from int64, fn func(dirent) bool) error {
	if in.size > maxDirBytes {
		return guest.Corrupt("ext4 directory %d: %d bytes", in.number, in.size)
	}
	size := int64(f.sb.blockSize)
	budget := f.sb.blocks // no directory holds more blocks than the volume
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	more := true
	err := f.eachRun(ctx, in, uint64(from/size), uint64((in.size+size-1)/size), func(r run) bool {
		for block := r.start; !r.hole && more && block < r.end(); block++ {
			if budget--; budget == 0 || ctx.Err() != nil {
				note(guest.Corrupt("ext4 directory %d: more blocks than the volume", in.number))
				more = false
				break
			}
			b, err := f.checkedDirBlock(ctx, in, block, r.from(block).place)
			if err == nil {
				more, err = f.eachRecord(in, b, int64(block)*size, fn)
			}
			if err != nil {
				note(err)
			}
		}
		return more
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return first
}

// checkedDirBlock reads a block of a directory and verifies it: a leaf, or a
// node of the hash tree. Where a node is meant, one is found in the first
// block and in those that begin with an empty record of their whole length.
func (f *FS) checkedDirBlock(ctx context.Context, in *inode, block, place uint64) ([]byte, error) {
	b, err := f.block(ctx, place)
	if err != nil {
		return nil, err
	}
	if !f.sb.metadataCsum() {
		return b, nil
	}
	ok := false
	if in.flags&flagIndex != 0 && (block == 0 || le.Uint32(b) == 0 && recordLen(b) == len(b)) {
		ok = checkIndexSum(in, b, block == 0)
	} else {
		tail := b[len(b)-direntTail:]
		ok = le.Uint32(tail) == 0 && le.Uint16(tail[4:]) == direntTail && tail[6] == 0 && tail[7] == tailType &&
			crc32c(in.seed, b[:len(b)-direntTail]) == le.Uint32(tail[8:])
	}
	if !ok {
		return nil, guest.Corrupt("ext4 directory %d: block %d (at block %d) has a wrong checksum", in.number, block, place)
	}
	return b, nil
}

// Lookup implements guest.Filesystem.
func (f *FS) Lookup(ctx context.Context, dir guest.Node, name string) (guest.Node, error) {
	in, err := f.directory(ctx, dir)
	if err != nil {
		return 0, err
	}
	e, err := f.find(ctx, in, name)
	if err != nil {
		return 0, err
	}
	return guest.Node(e.inode), nil
}

// find looks a name up, after fast commits.
func (f *FS) find(ctx context.Context, in *inode, name string) (dirent, error) {
	if in.changes != nil {
		if to, changed := in.changes.names[name]; changed || in.changes.fresh {
			if to.inode == 0 {
				return dirent{}, guest.ErrNotExist
			}
			return dirent{inode: to.inode}, nil
		}
	}
	if name == "" || len(name) > maxName || name == "." || name == ".." {
		return dirent{}, guest.ErrNotExist
	}
	if f.indexed(in) {
		e, err := f.findIndexed(ctx, in, name)
		if !isBadIndex(err) {
			return e, err
		}
	}
	return f.findListed(ctx, in, name)
}

// indexed says that a directory's hash tree can be searched. A casefolded one
// hashes the folded name.
func (f *FS) indexed(in *inode) bool {
	return in.flags&flagIndex != 0 && f.sb.compat&compatDirIndex != 0 && in.flags&(flagInline|flagCasefold) == 0
}

// findListed looks a name up in the list of all.
func (f *FS) findListed(ctx context.Context, in *inode, name string) (dirent, error) {
	var found dirent
	err := f.eachDirent(ctx, in, 0, func(e dirent) bool {
		if string(e.name) == name {
			found = e
		}
		return found.inode == 0
	})
	if found.inode != 0 {
		return found, nil
	}
	if err == nil {
		err = guest.ErrNotExist
	}
	return found, err
}
