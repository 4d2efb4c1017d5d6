package xfs

import (
	"context"

	"holdfast/fs/guest"
)

// Blocks of names (Block Directories, Leaf Directories). In version 4: magic 4,
// three best free spaces of 4; in version 5 magic 4, checksum 4, place 8,
// LSN 8, uuid 16, owner 8, the free spaces and 4 unused. Then entries (inode 8,
// length of the name 1, name, kind 1 (with ftype), padding to 8 with the
// entry's own address in the last 2) or gaps (0xffff, length 2, padding, own
// address 2). A directory of one block has an index at its end: 8 bytes for
// each entry, then their count 4 and the stale among them 4.
const (
	dirBlockMagic   = 0x58443242
	dirBlockMagicV5 = 0x58444233
	dirDataMagic    = 0x58443244
	dirDataMagicV5  = 0x58444433
	dirHead         = 16
	dirHeadV5       = 64
	dirOwner        = 40
	gapTag          = 0xffff
	entryFixed      = 11 // inode, length, own address
)

// dirBlock reads the directory block that begins at a block of a directory,
// and gives where its entries begin and end.
func (f *FS) dirBlock(ctx context.Context, in *inode, block uint64) (b []byte, from, to int, err error) {
	buf, off, err := f.readFork(ctx, in, &in.data, block, f.sb.dirBlocks())
	if err != nil {
		return nil, 0, 0, err
	}
	b, from = buf.data, dirHead
	magic, single := be.Uint32(b), uint32(dirBlockMagic)
	if f.sb.v5 {
		from, single = dirHeadV5, dirBlockMagicV5
		if be.Uint64(b[dirOwner:]) != in.number {
			return nil, 0, 0, guest.Corrupt("xfs directory %d: block %d is that of directory %d", in.number, block, be.Uint64(b[dirOwner:]))
		}
	}
	to = len(b)
	switch {
	case magic == single:
		count := be.Uint32(b[to-8:])
		if int64(count) > int64(to-from-8)/8 {
			return nil, 0, 0, guest.Corrupt("xfs directory %d: %d entries in one block", in.number, count)
		}
		to -= 8 + 8*int(count)
	case f.sb.v5 && magic != dirDataMagicV5, !f.sb.v5 && magic != dirDataMagic:
		return nil, 0, 0, guest.Corrupt("xfs directory %d: block %d has magic %#x", in.number, block, magic)
	}
	return b, from, to, f.verify(buf, sealDirData, off)
}

// eachInBlock walks the entries of one directory block.
func (f *FS) eachInBlock(ctx context.Context, in *inode, block uint64, fn func(dirent) bool) (more bool, err error) {
	b, at, end, err := f.dirBlock(ctx, in, block)
	if err != nil {
		return true, err
	}
	base := block << f.sb.blockLog
	for at < end {
		if be.Uint16(b[at:]) == gapTag {
			gap := int(be.Uint16(b[at+2:]))
			if gap < 8 || gap%8 != 0 || gap > end-at {
				return true, guest.Corrupt("xfs directory %d: a gap of %d bytes at %d", in.number, gap, base+uint64(at))
			}
			at += gap
			continue
		}
		e, length, err := f.parseDirent(in, b[at:end], base, at)
		if err != nil {
			return true, err
		}
		at += length
		if !fn(e) {
			return false, nil
		}
	}
	return true, nil
}

// parseDirent reads the entry that b begins with, which lies at a place in
// the block at base, and gives its length.
func (f *FS) parseDirent(in *inode, b []byte, base uint64, at int) (dirent, int, error) {
	if len(b) < 16 {
		return dirent{}, 0, guest.Corrupt("xfs directory %d: an entry ends behind its block", in.number)
	}
	kindAt, length := 9+int(b[8]), entryFixed+int(b[8])
	if f.sb.ftype {
		length++
	}
	length = (length + 7) &^ 7
	if length > len(b) || int(be.Uint16(b[length-2:])) != at {
		return dirent{}, 0, guest.Corrupt("xfs directory %d: no entry at address %d", in.number, base+uint64(at))
	}
	e := dirent{inode: be.Uint64(b), name: string(b[9:kindAt]), cookie: (base + uint64(at)) >> cookieShift}
	if f.sb.ftype {
		e.kind = b[kindAt]
	}
	return e, length, f.checkDirent(in, e)
}

// direntAt reads one entry by its address in the directory.
func (f *FS) direntAt(ctx context.Context, in *inode, address uint64) (dirent, error) {
	size := uint64(f.sb.dirBytes())
	b, from, to, err := f.dirBlock(ctx, in, address/size<<f.sb.dirLog)
	if err != nil {
		return dirent{}, err
	}
	at := int(address % size)
	if at < from || at >= to || be.Uint16(b[at:]) == gapTag {
		return dirent{}, guest.Corrupt("xfs directory %d: its index leads to address %d", in.number, address)
	}
	e, _, err := f.parseDirent(in, b[at:to], address/size*size, at)
	return e, err
}
