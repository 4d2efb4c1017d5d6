package ext4

import (
	"context"
	"time"

	"holdfast/fs/guest"
)

// Inode flags.
const (
	flagEncrypted = 0x800
	flagIndex     = 0x1000
	flagHugeFile  = 0x40000
	flagExtents   = 0x80000
	flagEAInode   = 0x200000
	flagInline    = 0x10000000
	flagCasefold  = 0x40000000
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

// Places in an inode (Index Nodes).
const (
	inodeMap        = 0x28 // 60 bytes: extents, block pointers or content
	inodeMapLen     = 60
	inodeGeneration = 0x64
	inodeSumLow     = 0x7c
	inodeExtra      = 0x80 // length of what follows the first 128 bytes
	inodeSumHigh    = 0x82
)

// inode is one inode, checked.
type inode struct {
	number      uint32
	mode, links uint16
	flags       uint32
	uid, gid    uint32
	size        int64
	blocks      uint64 // in units of 512 bytes, or of blocks with flagHugeFile
	generation  uint32
	acl         uint64 // block of xattrs, or 0
	atime       time.Time
	mtime       time.Time
	ctime       time.Time
	btime       time.Time
	mapping     [inodeMapLen]byte
	xattrs      []byte // what lies behind the extra fields; part of a cached page
	seed        uint32 // of the checksums of this file's structures
	changes     *fastInode
}

func (in *inode) is(mode uint16) bool { return in.mode&modeType == mode }

// encrypted files can't be read without their key.
func (in *inode) encrypted() bool { return in.flags&flagEncrypted != 0 }

// rawInode reads an inode's bytes after replay of the journal, without fast
// commits.
func (f *FS) rawInode(ctx context.Context, number uint32) ([]byte, error) {
	if number == 0 || number > f.sb.inodes {
		return nil, guest.Corrupt("ext4: inode %d of %d", number, f.sb.inodes)
	}
	g, err := f.group(ctx, (number-1)/f.sb.inodesPerGroup)
	if err != nil {
		return nil, err
	}
	off := uint64((number-1)%f.sb.inodesPerGroup) * uint64(f.sb.inodeSize)
	b, err := f.block(ctx, g.table+off/uint64(f.sb.blockSize))
	if err != nil {
		return nil, err
	}
	return b[off%uint64(f.sb.blockSize):][:f.sb.inodeSize], nil
}

// anyInode reads an inode, special ones among them.
func (f *FS) anyInode(ctx context.Context, number uint32) (*inode, error) {
	changes := f.fast.inode(number)
	if changes != nil && changes.raw != nil {
		return f.parseInode(number, changes.raw, changes)
	}
	b, err := f.rawInode(ctx, number)
	if err != nil {
		return nil, err
	}
	if err := f.checkInode(number, b); err != nil {
		return nil, err
	}
	return f.parseInode(number, b, changes)
}

// inode reads the inode of a file that a directory may name. One that is not
// in use is fs.ErrNotExist.
func (f *FS) inode(ctx context.Context, n guest.Node) (*inode, error) {
	if n == 0 || n > guest.Node(f.sb.inodes) {
		return nil, guest.ErrNotExist
	}
	if n < guest.Node(f.sb.firstInode) && n != rootInode {
		return nil, guest.Corrupt("ext4: a directory names the special inode %d", n)
	}
	in, err := f.anyInode(ctx, uint32(n))
	if err != nil {
		return nil, err
	}
	if in.links == 0 || in.mode == 0 || in.flags&flagEAInode != 0 {
		return nil, guest.ErrNotExist
	}
	return in, nil
}

// inodeSeed seeds the checksums of an inode's structures.
func (f *FS) inodeSeed(number uint32, b []byte) uint32 {
	return crc32cNumber(crc32cNumber(f.sb.seed, number), le.Uint32(b[inodeGeneration:]))
}

// checkInode verifies an inode's checksum: of all its bytes, with zeros for
// the checksum itself. The upper half is there if the extra fields reach it.
func (f *FS) checkInode(number uint32, b []byte) error {
	if !f.sb.metadataCsum() {
		return nil
	}
	sum := crc32c(f.inodeSeed(number, b), b[:inodeSumLow])
	sum = crc32c(crc32cZeros(sum, 2), b[inodeSumLow+2:goodInodeSize])
	want, mask := uint32(le.Uint16(b[inodeSumLow:])), uint32(0xffff)
	if len(b) > goodInodeSize {
		sum = crc32c(sum, b[goodInodeSize:inodeSumHigh])
		if le.Uint16(b[inodeExtra:]) >= 4 {
			want, mask = want|uint32(le.Uint16(b[inodeSumHigh:]))<<16, ^uint32(0)
			sum = crc32cZeros(sum, 2)
		} else {
			sum = crc32c(sum, b[inodeSumHigh:inodeSumHigh+2])
		}
		sum = crc32c(sum, b[inodeSumHigh+2:])
	}
	if sum&mask != want {
		return guest.Corrupt("ext4 inode %d: its checksum is wrong", number)
	}
	return nil
}

// parseInode reads an inode from b, which stays part of it.
func (f *FS) parseInode(number uint32, b []byte, changes *fastInode) (*inode, error) {
	in := new(inode)
	if err := f.parseInto(in, number, b, changes); err != nil {
		return nil, err
	}
	return in, nil
}

// parseInto is parseInode into an inode that is there, whatever it held.
func (f *FS) parseInto(in *inode, number uint32, b []byte, changes *fastInode) error {
	*in = inode{
		number: number, mode: le.Uint16(b), links: le.Uint16(b[0x1a:]), flags: le.Uint32(b[0x20:]),
		uid:        uint32(le.Uint16(b[2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		gid:        uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16,
		blocks:     uint64(le.Uint32(b[0x1c:])),
		generation: le.Uint32(b[inodeGeneration:]), acl: uint64(le.Uint32(b[0x68:])),
		seed: f.inodeSeed(number, b), changes: changes,
	}
	copy(in.mapping[:], b[inodeMap:])
	if f.sb.has64Bit() {
		in.acl |= uint64(le.Uint16(b[0x76:])) << 32
	}
	if f.sb.ro&roHugeFile != 0 {
		in.blocks |= uint64(le.Uint16(b[0x74:])) << 32
	}
	size := uint64(le.Uint32(b[4:]))
	if in.is(modeFile) || f.sb.incompat&incompatLargeDir != 0 {
		size |= uint64(le.Uint32(b[0x6c:])) << 32
	}
	if in.size = int64(size); in.size < 0 {
		return guest.Corrupt("ext4 inode %d: its size is negative", number)
	}
	extra := 0
	if len(b) > goodInodeSize {
		extra = int(le.Uint16(b[inodeExtra:]))
		if extra > len(b)-goodInodeSize || extra%4 != 0 {
			return guest.Corrupt("ext4 inode %d: %d bytes of extra fields", number, extra)
		}
		in.xattrs = b[goodInodeSize+extra:]
	}
	in.parseTimes(b[:goodInodeSize+extra])
	changes.apply(in)
	return nil
}

// parseTimes reads the times; b ends where the extra fields do.
func (in *inode) parseTimes(b []byte) {
	in.atime, in.ctime, in.mtime = readTime(b, 0x08, 0x8c), readTime(b, 0x0c, 0x84), readTime(b, 0x10, 0x88)
	if len(b) >= 0x94 {
		in.btime = readTime(b, 0x90, 0x94)
	}
}

// readTime reads a time: seconds, signed, and if the inode is long enough two
// more bits of them with the nanoseconds (Inode Timestamps).
func readTime(b []byte, at, extraAt int) time.Time {
	sec := int64(int32(le.Uint32(b[at:])))
	if len(b) < extraAt+4 {
		return time.Unix(sec, 0)
	}
	extra := le.Uint32(b[extraAt:])
	return time.Unix(sec+int64(extra&3)<<32, int64(extra>>2))
}

// types maps a mode's kind.
var types = map[uint16]guest.Type{
	modeFIFO: guest.FIFO, modeChar: guest.CharDevice, modeDir: guest.Directory, modeBlock: guest.BlockDevice,
	modeFile: guest.Regular, modeLink: guest.Symlink, modeSocket: guest.Socket,
}

// allocated is the space that a file occupies, in bytes.
func (f *FS) allocated(in *inode) int64 {
	if in.flags&flagHugeFile != 0 && f.sb.ro&roHugeFile != 0 {
		return int64(in.blocks * uint64(f.sb.blockSize))
	}
	sectors := in.blocks
	if in.flags&flagInline != 0 && in.is(modeFile) {
		sectors += uint64(in.size+511) / 512 // as the kernel counts inline content
	}
	return int64(sectors * 512)
}

// device reads a device number, old or new style, as Linux encodes makedev.
func (in *inode) device() uint64 {
	dev := le.Uint32(in.mapping[:])
	major, minor := uint64(dev>>8&0xff), uint64(dev&0xff)
	if dev == 0 {
		dev = le.Uint32(in.mapping[4:])
		major, minor = uint64(dev>>8&0xfff), uint64(dev&0xff|dev>>12&0xfff00)
	}
	return major&0xfff<<8 | minor&0xff | minor>>8<<20 | major>>12<<44
}
