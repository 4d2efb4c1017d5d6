package xfs

import (
	"context"
	"time"

	"holdfast/fs/guest"
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

// An inode's core (On-disk Inode):
//
//	0 magic  2 mode  4 version  5 format  6 links (v1)  8 uid  12 gid  16 links
//	24 extents (nrext64)  30 flush count (v1, v2)  32 atime  40 mtime  48 ctime
//	56 size  64 blocks  76 extents  80 attribute extents  82 fork offset / 8
//	83 attribute format  90 flags  92 generation  96 next unlinked
//	100 checksum  112 LSN  120 flags 2  144 btime  152 number  160 uuid
const (
	inodeMagic = 0x494e
	inodeSum   = 100
	inodeLSN   = 112
	inodeUUID  = 160
	coreLen    = 100
	coreLenV3  = 176
	inodeFlush = 30
	flagRT     = 0x1
	flag2Big   = 0x8  // bigtime
	flag2Nrext = 0x10 // 64-bit extent counts
)

// inode is one inode, verified and apart from the cache.
type inode struct {
	number      uint64
	mode        uint16
	uid, gid    uint32
	links       uint32
	generation  uint32
	size        int64
	blocks      uint64
	realtime    bool // content is on the real-time device
	atime       time.Time
	mtime       time.Time
	ctime       time.Time
	btime       time.Time // zero in versions 1 and 2
	data, xattr fork
}

func (in *inode) is(mode uint16) bool { return in.mode&modeType == mode }

// inode reads the inode of a file that a directory may name. One that is not
// in use is fs.ErrNotExist.
func (f *FS) inode(ctx context.Context, n guest.Node) (*inode, error) {
	off, err := f.sb.inodePlace(uint64(n))
	if err != nil || n == 0 {
		return nil, guest.ErrNotExist
	}
	b, err := f.read(ctx, off, f.sb.inodeSize)
	if err != nil {
		return nil, err
	}
	in, err := f.parseInode(uint64(n), b)
	if err != nil {
		return nil, err
	}
	if in.mode == 0 || in.links == 0 {
		return nil, guest.ErrNotExist
	}
	return in, nil
}

// parseInode verifies an inode and copies it out of b.
func (f *FS) parseInode(number uint64, buf buffer) (*inode, error) {
	b := buf.data
	if be.Uint16(b) != inodeMagic || b[4] == 0 || b[4] > 3 || (b[4] == 3) != f.sb.v5 {
		return nil, guest.Corrupt("xfs inode %d: magic %#x, version %d", number, be.Uint16(b), b[4])
	}
	core := coreLen
	if f.sb.v5 {
		core = coreLenV3
		switch {
		case be.Uint64(b[152:]) != number || [16]byte(b[inodeUUID:]) != f.sb.metaUUID:
			return nil, guest.Corrupt("xfs inode %d: it says that it is inode %d of %x", number, be.Uint64(b[152:]), b[inodeUUID:][:16])
		case !f.sumOK(buf, inodeSum):
			return nil, guest.Corrupt("xfs inode %d: its checksum is wrong", number)
		}
	}
	in := &inode{
		number: number, mode: be.Uint16(b[2:]), uid: be.Uint32(b[8:]), gid: be.Uint32(b[12:]), links: be.Uint32(b[16:]),
		generation: be.Uint32(b[92:]), size: int64(be.Uint64(b[56:])), blocks: be.Uint64(b[64:]), realtime: be.Uint16(b[90:])&flagRT != 0,
	}
	if b[4] == 1 {
		in.links = uint32(be.Uint16(b[6:]))
	}
	if in.size < 0 || in.blocks > 1<<(62-f.sb.blockLog) {
		return nil, guest.Corrupt("xfs inode %d: %d bytes in %d blocks", number, in.size, in.blocks)
	}
	in.parseTimes(b)
	return in, in.parseForks(b, core)
}

// flags2 are those of version 3.
func flags2(b []byte) uint64 {
	if b[4] < 3 {
		return 0
	}
	return be.Uint64(b[120:])
}

// parseForks finds the two forks.
func (in *inode) parseForks(b []byte, core int) error {
	literal := append([]byte(nil), b[core:]...)
	in.data = fork{format: b[5], bytes: literal, extents: uint64(be.Uint32(b[76:]))}
	in.xattr = fork{format: b[83], extents: uint64(be.Uint16(b[80:]))}
	if flags2(b)&flag2Nrext != 0 {
		in.data.extents, in.xattr.extents = be.Uint64(b[24:]), uint64(be.Uint32(b[76:]))
	}
	if at := int(b[82]) * 8; at > len(literal) {
		return guest.Corrupt("xfs inode %d: its attribute fork begins at %d of %d", in.number, at, len(literal))
	} else if at > 0 {
		in.data.bytes, in.xattr.bytes = literal[:at], literal[at:]
	}
	return nil
}

// parseTimes reads the times: seconds and nanoseconds, or with bigtime
// nanoseconds from 1901 on (Inode Timestamps).
func (in *inode) parseTimes(b []byte) {
	big := flags2(b)&flag2Big != 0
	read := func(at int) time.Time {
		if big {
			const second = 1_000_000_000
			v := be.Uint64(b[at:])
			return time.Unix(int64(v/second)-1<<31, int64(v%second))
		}
		return time.Unix(int64(int32(be.Uint32(b[at:]))), int64(be.Uint32(b[at+4:])))
	}
	in.atime, in.mtime, in.ctime = read(32), read(40), read(48)
	if b[4] == 3 {
		in.btime = read(144)
	}
}

// types maps a mode's kind.
var types = map[uint16]guest.Type{
	modeFIFO: guest.FIFO, modeChar: guest.CharDevice, modeDir: guest.Directory, modeBlock: guest.BlockDevice,
	modeFile: guest.Regular, modeLink: guest.Symlink, modeSocket: guest.Socket,
}

// device reads a device number, 14 bits of major and 18 of minor, as Linux
// encodes makedev.
func (in *inode) device() (uint64, error) {
	if in.data.format != formatDevice || len(in.data.bytes) < 4 {
		return 0, guest.Corrupt("xfs inode %d: a device of format %d", in.number, in.data.format)
	}
	dev := uint64(be.Uint32(in.data.bytes))
	major, minor := dev>>18, dev&(1<<18-1)
	return major&0xfff<<8 | minor&0xff | minor>>8<<20 | major>>12<<44, nil
}
