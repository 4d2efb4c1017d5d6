package volume

import (
	"context"
	"fmt"
	"strings"

	"holdfast/fs/guest"
)

// luks (LUKS1 on-disk format 1.2.3, LUKS2 on-disk format 1.0.0).
func luks(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return Format{}, false
	}
	f := Format{Used: -1, Refused: locked, UUID: text(b[168:208])}
	switch be.Uint16(b[6:]) {
	case 1:
		f.Type = "luks1"
	case 2:
		f.Type, f.Label = "luks2", text(b[24:72])
	default:
		return Format{}, false
	}
	return f, true
}

// bcache and bcachefs, which took its superblock over and changed the magic.
func bcache(p *peek) (Format, bool) {
	b := p.at(4096, 256)
	if b == nil {
		return Format{}, false
	}
	f := Format{Used: -1, Refused: "it lies behind a cache, which may hold newer data"}
	switch string(b[24:40]) {
	case "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81":
		f.Type, f.UUID, f.Label = "bcache", uuid(b[40:56]), text(b[72:104])
	case "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef":
		f.Type, f.Refused, f.UUID, f.Label = "bcachefs", namedOnly, uuid(b[56:72]), text(b[72:104])
	default:
		return Format{}, false
	}
	return f, true
}

// raidBIOS names members of firmware RAID: Intel's keeps its mark in the last
// sector but one, DDF in the last one.
func raidBIOS(p *peek) (Format, bool) {
	end := p.v.Size() &^ 511
	switch {
	case p.is(end-1024, "Intel Raid ISM Cfg Sig. "):
		return Format{Type: "isw-raid", Used: -1, Refused: "firmware RAID is not supported"}, true
	case p.is(end-512, "\xde\x11\xde\x11"):
		return Format{Type: "ddf-raid", Used: -1, Refused: "firmware RAID is not supported"}, true
	}
	return Format{}, false
}

// swap (include/linux/swap.h): the mark ends the first page, of whatever size.
// A guest that sleeps puts its own mark there, and TuxOnIce one before it.
func swap(p *peek) (Format, bool) {
	if p.is(0, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c") {
		return Format{Type: "hibernation", Used: -1, Refused: sleeping}, true
	}
	return swapMark(p)
}

const sleeping = "a guest has gone to sleep into it"

// Asleep tells whether v, the head of a file, is swap
// into which a guest has gone to sleep. The error is that of reading it.
func Asleep(v guest.Volume) (bool, error) {
	p := &peek{ctx: context.Background(), v: v}
	defer p.done()
	f, ok := swap(p)
	return ok && f.Type == "hibernation", p.err
}

func swapMark(p *peek) (Format, bool) {
	for _, page := range [...]int64{4096, 8192, 16384, 32768, 65536} {
		mark := string(p.at(page-10, 10))
		f := Format{Type: "swap", Used: -1}
		switch mark {
		case "SWAPSPACE2":
		case "SWAP-SPACE":
			return f, true
		case "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00", "LINHIB0001":
			f.Type, f.Refused = "hibernation", sleeping
		default:
			continue
		}
		b := p.at(1024, 44)
		if le.Uint32(b) == 1 {
			f.UUID, f.Label = uuid(b[12:28]), text(b[28:44])
			f.Size = product(uint64(le.Uint32(b[4:]))+1, uint64(page))
		}
		return f, true
	}
	return Format{}, false
}

// drbd keeps its metadata in the last 4 KiB (drbd_int.h, drbd_meta_data.c).
func drbd(p *peek) (Format, bool) {
	b := p.at(p.v.Size()&^4095-4096, 128)
	if b == nil || p.v.Size() < 64<<10 {
		return Format{}, false
	}
	f := Format{Type: "drbd", Used: -1, Refused: "a replicated device; what is beneath it can't be told from here"}
	switch be.Uint32(b[60:]) {
	case 0x8374026b, 0x8374026c: // 8.x: clean, or not
		f.UUID = fmt.Sprintf("%016x", be.Uint64(b[40:]))
	case 0x8374026d: // 9
		f.UUID = fmt.Sprintf("%016x", be.Uint64(b[48:]))
	default:
		return Format{}, false
	}
	return f, true
}

// apfs (Apple File System Reference, nx_superblock_t).
func apfs(p *peek) (Format, bool) {
	b := p.at(0, 128)
	if b == nil || string(b[32:36]) != "NXSB" || !powerOfTwo(uint64(le.Uint32(b[36:])), 4096, 65536) {
		return Format{}, false
	}
	return Format{Type: "apfs", UUID: uuid(b[72:88]), Used: -1, Refused: namedOnly,
		Size: product(le.Uint64(b[40:]), uint64(le.Uint32(b[36:])))}, true
}

// hfs and HFS+ (Apple technical note TN1150). An HFS that only wraps an HFS+
// says so in drEmbedSigWord.
func hfs(p *peek) (Format, bool) {
	b := p.at(1024, 162)
	if b == nil {
		return Format{}, false
	}
	f := Format{Type: "hfsplus", Used: -1, Refused: namedOnly}
	switch mark := string(b[:2]); {
	case mark == "H+" || mark == "HX":
		size := uint64(be.Uint32(b[40:]))
		if !powerOfTwo(size, 512, 1<<30) {
			return Format{}, false
		}
		f.Size, f.Used = product(uint64(be.Uint32(b[44:])), size), usedOf(uint64(be.Uint32(b[44:])), uint64(be.Uint32(b[48:])), size)
		if id := be.Uint64(b[104:]); id != 0 {
			f.UUID = fmt.Sprintf("%016x", id)
		}
	case mark == "BD" && string(b[124:126]) == "H+":
	case mark == "BD" && b[36] <= 27 && be.Uint32(b[20:])%512 == 0 && be.Uint32(b[20:]) > 0:
		f.Type, f.Label = "hfs", string(b[37:37+int(b[36])])
	default:
		return Format{}, false
	}
	return f, true
}

// iso9660 (ECMA-119, section 8.4). The time of its last change serves as UUID,
// or that of its creation.
func iso9660(p *peek) (Format, bool) {
	b := p.at(32768, 2048)
	if b == nil || string(b[1:6]) != "CD001" || b[0] != 1 {
		return Format{}, false
	}
	size := product(uint64(le.Uint32(b[80:])), uint64(le.Uint16(b[128:])))
	f := Format{Type: "iso9660", Label: strings.TrimRight(string(b[40:72]), " \x00"), Size: size, Used: size, Refused: namedOnly}
	for _, t := range [][]byte{b[830:846], b[813:829]} {
		if strings.Trim(string(t), "0123456789") == "" && strings.Trim(string(t), "0") != "" {
			f.UUID = fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", t[:4], t[4:6], t[6:8], t[8:10], t[10:12], t[12:14], t[14:16])
			break
		}
	}
	return f, true
}

// udf has its own sequence of descriptors (ECMA-167, part 2).
func udf(p *peek) (Format, bool) {
	for i := range int64(8) {
		if p.is(32768+2048*i+1, "NSR0") {
			return Format{Type: "udf", Used: -1, Refused: namedOnly}, true
		}
	}
	return Format{}, false
}

// ufs of BSD and Solaris, in either byte order (sys/ufs/ffs/fs.h).
func ufs(p *peek) (Format, bool) {
	for _, at := range [...]int64{65536, 8192, 0, 262144} {
		b := p.at(at, 1376)
		if b == nil {
			continue
		}
		f := Format{Type: "ufs1", Used: -1, Refused: namedOnly}
		for _, order := range []interface{ Uint32([]byte) uint32 }{le, be} {
			switch order.Uint32(b[1372:]) {
			case 0x19540119:
				f.Type, f.Label = "ufs2", text(b[680:712])
			case 0x00011954:
			default:
				continue
			}
			if id := order.Uint32(b[144:]); id != 0 {
				f.UUID = fmt.Sprintf("%08x%08x", id, order.Uint32(b[148:]))
			}
			return f, true
		}
	}
	return Format{}, false
}

// zfs: a label has 16 KiB for a list of names and values, XDR encoded, and from
// 128 KiB on a ring of uberblocks (ZFS On-Disk Specification, chapter 1).
func zfs(p *peek) (Format, bool) {
	b := p.at(16<<10, 16<<10)
	ring := p.at(128<<10, 128<<10)
	found := false
	for at := 0; at+1024 <= len(ring); at += 1024 {
		found = found || le.Uint64(ring[at:]) == 0x00bab10c || be.Uint64(ring[at:]) == 0x00bab10c
	}
	if !found || b == nil {
		return Format{}, false
	}
	f := Format{Type: "zfs", Used: -1, Refused: namedOnly}
	if v := xdrValue(b, "name", 9); len(v) >= 4 {
		if n := be.Uint32(v); n <= 255 && int(n) <= len(v)-4 {
			f.Label = string(v[4 : 4+n])
		}
	}
	if v := xdrValue(b, "pool_guid", 8); len(v) >= 8 {
		f.UUID = fmt.Sprint(be.Uint64(v))
	}
	return f, true
}

// xdrValue finds a pair of an nvlist by name and type: length, decoded length,
// name (length, bytes, padding), type, number of elements, value.
func xdrValue(b []byte, name string, kind uint32) []byte {
	for at := 12; at+12 <= len(b); {
		size := int(be.Uint32(b[at:]))
		if size < 20 || size > len(b)-at {
			return nil
		}
		pair := b[at : at+size]
		n := int(be.Uint32(pair[8:]))
		padded := (n + 3) &^ 3
		if n >= 0 && n <= 256 && 12+padded+8 <= size && string(pair[12:12+n]) == name && be.Uint32(pair[12+padded:]) == kind {
			return pair[12+padded+8:]
		}
		at += size
	}
	return nil
}

// vmfs, VMware's: the volume manager's mark at 1 MiB, the filesystem's at 2.
func vmfs(p *peek) (Format, bool) {
	f := Format{Type: "vmfs", Used: -1, Refused: namedOnly}
	if p.is(1<<20, "\x0d\xd0\x01\xc0") {
		return f, true
	}
	if b := p.at(2<<20, 0x40); b != nil && le.Uint32(b) == 0x2fabf15e {
		f.Label = text(b[0x12:0x40])
		return f, true
	}
	return Format{}, false
}
