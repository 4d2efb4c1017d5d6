package volume

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"holdfast/fs/guest"
)

var le, be = binary.LittleEndian, binary.BigEndian

// ext is ext2, ext3 or ext4 by their features, as blkid tells them apart
// (Documentation/filesystems/ext4, "The Super Block").
func ext(p *peek) (Format, bool) {
	b := p.at(1024, 1024)
	if b == nil || le.Uint16(b[56:]) != 0xef53 || le.Uint32(b[24:]) > 6 || le.Uint32(b[4:]) == 0 {
		return Format{}, false
	}
	const (
		hasJournal   = 4
		journalDev   = 8
		incompatExt3 = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
		roCompatExt3 = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
	)
	compat, incompat, ro := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
	f := Format{Type: "ext2", UUID: uuid(b[104:120]), Label: text(b[120:136])}
	switch {
	case incompat&journalDev != 0:
		f.Type, f.Refused = "jbd", "it is the journal of another volume"
	case incompat&^incompatExt3 != 0 || ro&^roCompatExt3 != 0:
		f.Type = "ext4"
	case compat&hasJournal != 0:
		f.Type = "ext3"
	}
	blocks, free := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[12:]))
	if incompat&0x80 != 0 { // 64bit
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
		free |= uint64(le.Uint32(b[0x158:])) << 32
	}
	size := uint64(1024) << le.Uint32(b[24:])
	f.Size, f.Used = product(blocks, size), usedOf(blocks, free, size)
	return f, true
}

// xfs (fs/xfs/libxfs/xfs_format.h, struct xfs_dsb).
func xfs(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[:4]) != "XFSB" {
		return Format{}, false
	}
	size, blocks := uint64(be.Uint32(b[4:])), be.Uint64(b[8:])
	if !powerOfTwo(size, 512, 65536) || blocks == 0 {
		return Format{}, false
	}
	return Format{Type: "xfs", UUID: uuid(b[32:48]), Label: text(b[108:120]),
		Size: product(blocks, size), Used: usedOf(blocks, be.Uint64(b[144:]), size)}, true
}

const btrfsAt = 64 << 10

// btrfs (fs/btrfs/ctree.h, struct btrfs_super_block).
func btrfs(p *peek) (Format, bool) {
	b := p.at(btrfsAt, 4096)
	if b == nil || string(b[64:72]) != "_BHRfS_M" || le.Uint64(b[48:]) != btrfsAt {
		return Format{}, false
	}
	if kind := le.Uint16(b[196:]); kind == 0 && crc32.Checksum(b[32:], castagnoli) != le.Uint32(b) {
		return Format{}, false
	}
	total, used := le.Uint64(b[112:]), le.Uint64(b[120:])
	f := Format{Type: "btrfs", UUID: uuid(b[32:48]), Label: text(b[299:555]), Used: -1}
	// The size on this device: the total is that of all devices.
	f.Size = product(le.Uint64(b[201+8:]), 1)
	if used <= total {
		f.Used = product(used, 1)
	}
	return f, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// btrfsDevice gives the number of the device that a volume is in its btrfs, and
// how many devices that has.
func btrfsDevice(ctx context.Context, v guest.Volume) (number, count uint64) {
	p := &peek{ctx: ctx, v: v}
	defer p.done()
	if _, ok := btrfs(p); !ok {
		return 0, 0
	}
	b := p.at(btrfsAt, 4096)
	return le.Uint64(b[201:]), le.Uint64(b[136:])
}

const namedOnly = "there is no reader for this format; the disk's image has it"

// f2fs (include/linux/f2fs_fs.h).
func f2fs(p *peek) (Format, bool) {
	b := p.at(1024, 1024+128)
	if b == nil || le.Uint32(b) != 0xf2f52010 || le.Uint32(b[16:]) > 16 {
		return Format{}, false
	}
	return Format{Type: "f2fs", UUID: uuid(b[108:124]), Label: text16(b[124:1148]), Used: -1, Refused: namedOnly,
		Size: product(le.Uint64(b[36:]), 1<<le.Uint32(b[16:]))}, true
}

// squashfs 4 (Documentation/filesystems/squashfs).
func squashfs(p *peek) (Format, bool) {
	b := p.at(0, 96)
	if b == nil || string(b[:4]) != "hsqs" || le.Uint16(b[28:]) != 4 {
		return Format{}, false
	}
	size := product(le.Uint64(b[40:]), 1)
	return Format{Type: "squashfs", Size: size, Used: size, Refused: namedOnly}, true
}

// erofs (fs/erofs/erofs_fs.h).
func erofs(p *peek) (Format, bool) {
	b := p.at(1024, 128)
	if b == nil || le.Uint32(b) != 0xe0f5e1e2 || b[12] > 16 {
		return Format{}, false
	}
	size := product(uint64(le.Uint32(b[36:])), 1<<b[12])
	return Format{Type: "erofs", UUID: uuid(b[48:64]), Label: text(b[64:80]), Size: size, Used: size, Refused: namedOnly}, true
}

// reiserfs 3 (fs/reiserfs/reiserfs.h).
func reiserfs(p *peek) (Format, bool) {
	b := p.at(64<<10, 128)
	if b == nil || string(b[52:60]) != "ReIsErFs" && string(b[52:61]) != "ReIsEr2Fs" && string(b[52:61]) != "ReIsEr3Fs" {
		return Format{}, false
	}
	blocks, size := uint64(le.Uint32(b)), uint64(le.Uint16(b[44:]))
	return Format{Type: "reiserfs", UUID: uuid(b[84:100]), Label: text(b[100:116]), Refused: namedOnly,
		Size: product(blocks, size), Used: usedOf(blocks, uint64(le.Uint32(b[4:])), size)}, true
}

// jfs (fs/jfs/jfs_superblock.h).
func jfs(p *peek) (Format, bool) {
	b := p.at(32<<10, 184)
	if b == nil || string(b[:4]) != "JFS1" {
		return Format{}, false
	}
	return Format{Type: "jfs", UUID: uuid(b[136:152]), Label: text(b[152:168]), Used: -1, Refused: namedOnly,
		Size: product(le.Uint64(b[8:]), 512)}, true
}

// nilfs2 (include/uapi/linux/nilfs2_ondisk.h).
func nilfs2(p *peek) (Format, bool) {
	b := p.at(1024, 280)
	if b == nil || le.Uint16(b[6:]) != 0x3434 || le.Uint32(b[20:]) > 6 || le.Uint32(b) < 2 {
		return Format{}, false
	}
	return Format{Type: "nilfs2", UUID: uuid(b[152:168]), Label: text(b[168:248]), Used: -1, Refused: namedOnly,
		Size: product(le.Uint64(b[32:]), 1)}, true
}

// gfs2 (include/uapi/linux/gfs2_ondisk.h).
func gfs2(p *peek) (Format, bool) {
	b := p.at(64<<10, 512)
	if b == nil || be.Uint32(b) != 0x01161970 || be.Uint32(b[4:]) != 1 || be.Uint32(b[24:])/100 != 18 {
		return Format{}, false
	}
	return Format{Type: "gfs2", Label: text(b[160:224]), UUID: uuid(b[256:272]), Used: -1, Refused: namedOnly}, true
}
