package xfs

import (
	"context"
	"errors"
	"strings"

	"holdfast/fs/guest"
)

// A directory's data are addressed in bytes: its names from 0 on, its hash
// index from 32 GiB on (Directories). An entry's address, divided by 8, is its
// cookie.
const (
	indexStart  = 32 << 30
	cookieShift = 3
	maxName     = 255
)

// dirent is one entry.
type dirent struct {
	name   string
	inode  uint64
	kind   byte   // 0 where the directory does not tell
	cookie uint64 // never 0
}

// entryTypes maps the kind of an entry (XFS_DIR3_FT).
var entryTypes = [...]guest.Type{
	1: guest.Regular, 2: guest.Directory, 3: guest.CharDevice, 4: guest.BlockDevice, 5: guest.FIFO, 6: guest.Socket, 7: guest.Symlink,
}

func (e dirent) entry() guest.Entry {
	out := guest.Entry{Name: e.name, Node: guest.Node(e.inode), Cookie: e.cookie}
	if int(e.kind) < len(entryTypes) {
		out.Type = entryTypes[e.kind]
	}
	return out
}

// ReadDir implements guest.Filesystem. Names come as they lie on disk.
// Damaged blocks are passed over, and the first damage is the error in the end.
func (f *FS) ReadDir(ctx context.Context, dir guest.Node, cookie uint64, fn func(guest.Entry) bool) error {
	in, err := f.typed(ctx, dir, modeDir)
	if err != nil {
		return err
	}
	_, err = f.eachDirent(ctx, in, cookie, func(e dirent) bool { return fn(e.entry()) })
	return err
}

// eachDirent calls fn for the entries behind a cookie but for . and .., until
// fn returns false; who stops early sees nothing of the damage.
func (f *FS) eachDirent(ctx context.Context, in *inode, cookie uint64, fn func(dirent) bool) (more bool, err error) {
	wanted := func(e dirent) bool {
		if e.cookie <= cookie || e.name == "." || e.name == ".." {
			return true
		}
		return fn(e)
	}
	if in.data.format == formatLocal {
		return f.eachShortDirent(in, wanted)
	}
	return f.eachBlockDirent(ctx, in, cookie, wanted)
}

// eachBlockDirent walks a directory's data blocks, from that of the cookie on.
func (f *FS) eachBlockDirent(ctx context.Context, in *inode, cookie uint64, fn func(dirent) bool) (more bool, err error) {
	size := uint64(f.sb.dirBytes())
	end := min(uint64(in.size), indexStart) // of the data; 0 is damage, and lists nothing
	first := cookie << cookieShift / size * size
	if cookie > indexStart>>cookieShift || first >= end {
		return true, nil
	}
	budget := f.sb.blocks // a directory has no more blocks than the volume
	var damage error
	more = true
	err = f.eachRun(ctx, in, &in.data, first>>f.sb.blockLog, end>>f.sb.blockLog, func(r run) bool {
		if r.hole {
			return true
		}
		// A directory block may lie in several runs: it is read with its first.
		for block := (r.start + f.sb.dirBlocks() - 1) >> f.sb.dirLog << f.sb.dirLog; more && block < r.end(); block += f.sb.dirBlocks() {
			var bad error
			more, bad = f.eachInBlock(ctx, in, block, fn)
			if damage == nil {
				damage = bad
			}
			if budget--; budget == 0 || bad != nil && !errors.Is(bad, guest.ErrCorrupt) {
				return false
			}
		}
		return more
	})
	if !more {
		return false, nil
	}
	if err == nil {
		err = damage
	}
	return true, err
}

// Lookup implements guest.Filesystem.
func (f *FS) Lookup(ctx context.Context, dir guest.Node, name string) (guest.Node, error) {
	in, err := f.typed(ctx, dir, modeDir)
	if err != nil {
		return 0, err
	}
	if name == "" || len(name) > maxName || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return 0, guest.ErrNotExist
	}
	found, err := f.find(ctx, in, name)
	if err != nil {
		return 0, err
	}
	return guest.Node(found), nil
}

// find looks a name up by the hash index if there is one, else in the list.
func (f *FS) find(ctx context.Context, in *inode, name string) (uint64, error) {
	indexed := in.data.format != formatLocal && in.size > f.sb.dirBytes()
	if indexed {
		found, err := f.findIndexed(ctx, in, name)
		if err == nil || !errors.Is(err, guest.ErrCorrupt) {
			return found, err
		}
	}
	var found uint64
	_, err := f.eachDirent(ctx, in, 0, func(e dirent) bool {
		if f.sameName(e.name, name) {
			found = e.inode
		}
		return found == 0
	})
	if found == 0 && err == nil {
		err = guest.ErrNotExist
	}
	return found, err
}

// checkDirent refuses what no directory holds.
func (f *FS) checkDirent(in *inode, e dirent) error {
	if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
		return guest.Corrupt("xfs directory %d: the name %q", in.number, e.name)
	}
	if _, err := f.sb.inodePlace(e.inode); err != nil || e.inode == 0 || e.cookie == 0 {
		return guest.Corrupt("xfs directory %d: %q is inode %d", in.number, e.name, e.inode)
	}
	return nil
}
