package btrfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/fs/guest"
)

// An inode's item (btrfs_inode_item):
//
//	0 generation  16 size  24 bytes  40 links 4  44 uid 4  48 gid 4  52 mode 4
//	56 device 8  64 flags 8  112 atime 12  124 ctime 12  136 mtime 12  148 otime 12
const (
	inodeLen   = 160
	flagNoSums = 0x1
)

// Kinds of a file in its mode.
const (
	modeType   = 0xf000
	modeFIFO   = 0x1000
	modeChar   = 0x2000
	modeDir    = 0x4000
	modeBlock  = 0x6000
	modeFile   = 0x8000
	modeLink   = 0xa000
	modeSocket = 0xc000
)

// types maps a mode's kind.
var types = map[uint32]guest.Type{
	modeFIFO: guest.FIFO, modeChar: guest.CharDevice, modeDir: guest.Directory, modeBlock: guest.BlockDevice,
	modeFile: guest.Regular, modeLink: guest.Symlink, modeSocket: guest.Socket,
}

// inode is one file of a subvolume.
type inode struct {
	tree   *tree
	number uint64
	item   []byte // shared: read only
	size   int64
}

func (in *inode) mode() uint32        { return le.Uint32(in.item[52:]) }
func (in *inode) is(mode uint32) bool { return in.mode()&modeType == mode }
func (in *inode) flags() uint64       { return le.Uint64(in.item[64:]) }
func (in *inode) links() uint32       { return le.Uint32(in.item[40:]) }

func isAbsent(err error) bool { return errors.Is(err, guest.ErrNotExist) }

// inode reads the inode of a file that a directory may name.
func (f *FS) inode(ctx context.Context, n guest.Node) (*inode, error) {
	id, number, _ := split(n)
	if n == 0 || number < firstFree {
		return nil, guest.ErrNotExist
	}
	t, err := f.volume(ctx, id)
	if err != nil {
		return nil, err
	}
	return f.inodeIn(ctx, t, number)
}

func (f *FS) inodeIn(ctx context.Context, t *tree, number uint64) (*inode, error) {
	item, err := f.find(ctx, t, key{number, kindInode, 0})
	if err != nil {
		return nil, fmt.Errorf("btrfs inode %d of subvolume %d: %w", number, t.id, err)
	}
	if item == nil {
		return nil, fmt.Errorf("btrfs inode %d of subvolume %d: %w", number, t.id, guest.ErrNotExist)
	}
	in, err := parseInode(t, number, item)
	if err == nil && in.links() == 0 {
		err = fmt.Errorf("btrfs inode %d of subvolume %d was deleted: %w", number, t.id, guest.ErrNotExist)
	}
	return in, err
}

func parseInode(t *tree, number uint64, item []byte) (*inode, error) {
	in := &inode{tree: t, number: number, item: item}
	if len(item) < inodeLen || types[in.mode()&modeType] == 0 {
		return nil, guest.Corrupt("btrfs inode %d of subvolume %d: an item of %d bytes", number, t.id, len(item))
	}
	in.size = int64(le.Uint64(item[16:]))
	if in.size < 0 || le.Uint64(item[24:]) > 1<<62 {
		return nil, guest.Corrupt("btrfs inode %d of subvolume %d: %d bytes", number, t.id, uint64(in.size))
	}
	return in, nil
}

// typed reads the inode of a file of some type.
func (f *FS) typed(ctx context.Context, n guest.Node, mode uint32) (*inode, error) {
	if n&emptyFlag != 0 {
		return nil, fmt.Errorf("btrfs: a subvolume that is not there: %w", guest.ErrNotExist)
	}
	in, err := f.inode(ctx, n)
	if err == nil && !in.is(mode) {
		err = fmt.Errorf("btrfs inode %d is of another type (mode %#o): %w", in.number, in.mode(), guest.ErrNotExist)
	}
	return in, err
}

// Stat implements guest.Filesystem.
func (f *FS) Stat(ctx context.Context, n guest.Node) (guest.Attr, error) {
	in, err := f.inode(ctx, n)
	if err != nil {
		return guest.Attr{}, err
	}
	b := in.item
	at := func(off int) time.Time { return time.Unix(int64(le.Uint64(b[off:])), int64(le.Uint32(b[off+8:]))) }
	round := f.sb.sectorSize - 1
	attr := guest.Attr{
		Node: n, Type: types[in.mode()&modeType], Perm: uint16(in.mode() & 0o7777), UID: le.Uint32(b[44:]), GID: le.Uint32(b[48:]),
		Links: in.links(), Size: in.size, Allocated: int64((le.Uint64(b[24:]) + round) &^ round),
		Atime: at(112), Ctime: at(124), Mtime: at(136), Btime: at(148), Generation: uint64(uint32(le.Uint64(b))),
	}
	if attr.Type == guest.CharDevice || attr.Type == guest.BlockDevice {
		dev := le.Uint64(b[56:]) // 12 bits of major, 20 of minor
		major, minor := dev>>20, dev&(1<<20-1)
		attr.Rdev = major&0xfff<<8 | minor&0xff | minor>>8<<20 | major>>12<<44
	}
	if n&emptyFlag != 0 {
		if attr.Type != guest.Directory {
			return guest.Attr{}, guest.ErrNotExist
		}
		attr.Perm, attr.Links, attr.Size, attr.Allocated = emptyPerms, 1, 0, 0
	}
	return attr, nil
}
