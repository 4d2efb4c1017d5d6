package volume

import (
	"fmt"
	"strings"
)

const locked = "encrypted; opening it is not supported"

// bitlocker (libbde, "BitLocker Drive Encryption format": volume header). On a
// removable disk the header looks like FAT32's.
func bitlocker(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil {
		return Format{}, false
	}
	f := Format{Type: "bitlocker", Used: -1, Refused: locked}
	const identifier = "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01"
	switch {
	case string(b[3:11]) == "-FVE-FS-":
		f.Size = product(le.Uint64(b[40:]), uint64(le.Uint16(b[11:])))
	case string(b[3:11]) == "MSWIN4.1" && string(b[424:440]) == identifier:
	default:
		return Format{}, false
	}
	return f, true
}

// ntfs ($Boot; the label is an attribute of file record 3, $Volume).
func ntfs(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[3:11]) != "NTFS    " {
		return Format{}, false
	}
	sector, perCluster := uint64(le.Uint16(b[11:])), uint64(b[13])
	if perCluster > 0x80 { // a negative power of two, for clusters above 64 KiB
		perCluster = 1 << min(32, 256-perCluster)
	}
	if !powerOfTwo(sector, 256, 4096) || !powerOfTwo(perCluster, 1, 1<<13) {
		return Format{}, false
	}
	f := Format{Type: "ntfs", UUID: fmt.Sprintf("%016X", le.Uint64(b[72:])), Used: -1, Size: product(le.Uint64(b[40:])+1, sector)}
	record := int64(int8(b[64])) * int64(sector*perCluster)
	if record < 0 {
		record = 1 << min(30, -int64(int8(b[64])))
	}
	if record >= 256 && record <= 64<<10 {
		at := product(le.Uint64(b[48:]), sector*perCluster)
		f.Label = ntfsLabel(p.at(at+3*record, record))
	}
	return f, true
}

// ntfsLabel finds the resident $VOLUME_NAME in a file record.
func ntfsLabel(b []byte) string {
	if b == nil || string(b[:4]) != "FILE" {
		return ""
	}
	b = fixed(b)
	for at := int(le.Uint16(b[20:])); at+24 <= len(b); {
		kind, length := le.Uint32(b[at:]), int(le.Uint32(b[at+4:]))
		if kind == 0xffffffff || length < 24 || length > len(b)-at {
			return ""
		}
		if a := b[at : at+length]; kind == 0x60 && a[8] == 0 {
			size, from := int(le.Uint32(a[16:])), int(le.Uint16(a[20:]))
			if from > length || size > length-from {
				return ""
			}
			return text16(a[from : from+size])
		}
		at += length
	}
	return ""
}

// fixed puts the last two bytes of each 512 back that the update sequence has
// taken.
func fixed(record []byte) []byte {
	b := append([]byte(nil), record...)
	at, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	for i := 1; i < n; i++ {
		from, to := at+2*i, 512*i-2
		if from+2 > len(record) || to+2 > len(b) {
			break
		}
		copy(b[to:to+2], record[from:from+2])
	}
	return b
}

// exfat (Microsoft's exFAT specification, sections 3.1 and 7.3).
func exfat(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[3:11]) != "EXFAT   " || b[108] < 9 || b[108] > 12 || b[109] > 25-b[108] {
		return Format{}, false
	}
	sector, cluster := uint64(1)<<b[108], uint64(1)<<(b[108]+b[109])
	f := Format{Type: "exfat", UUID: fatID(le.Uint32(b[100:])), Used: -1, Size: product(le.Uint64(b[72:]), sector)}
	if pct := b[112]; pct <= 100 {
		f.Used = product(uint64(le.Uint32(b[92:])), cluster) / 100 * int64(pct)
	}
	root := uint64(le.Uint32(b[96:]))
	if root < 2 {
		return f, true
	}
	dir := p.at(product(uint64(le.Uint32(b[88:])), sector)+product(root-2, cluster), int64(min(cluster, 64<<10)))
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		if dir[0] == 0x83 && dir[1] <= 11 {
			f.Label = text16(dir[2 : 2+2*int(dir[1])])
			break
		}
	}
	return f, true
}

// fat tells FAT12, 16 and 32 by their number of clusters (Microsoft's FAT
// specification 1.03, "FAT Type Determination").
func fat(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil || b[0] != 0xeb && b[0] != 0xe9 || b[510] != 0x55 || b[511] != 0xaa {
		return Format{}, false
	}
	sector, perCluster, reserved := uint64(le.Uint16(b[11:])), uint64(b[13]), uint64(le.Uint16(b[14:]))
	fats, entries, media := uint64(b[16]), uint64(le.Uint16(b[17:])), b[21]
	total, length := uint64(le.Uint16(b[19:])), uint64(le.Uint16(b[22:]))
	if total == 0 {
		total = uint64(le.Uint32(b[32:]))
	}
	large := length == 0
	if large {
		length = uint64(le.Uint32(b[36:]))
	}
	if !powerOfTwo(sector, 512, 4096) || !powerOfTwo(perCluster, 1, 128) || reserved == 0 || fats < 1 || fats > 4 ||
		media < 0xf0 || length == 0 || large != (entries == 0) {
		return Format{}, false
	}
	root := reserved + fats*length
	data := root + (entries*32+sector-1)/sector
	if data >= total {
		return Format{}, false
	}
	f := Format{Type: "fat16", Used: -1, Size: product(total, sector)}
	id, dirAt, dirLen := b[38:], root*sector, entries*32
	switch clusters := (total - data) / perCluster; {
	case large:
		first := uint64(le.Uint32(b[44:]))
		if first < 2 {
			return Format{}, false
		}
		f.Type, id = "fat32", b[66:]
		dirAt, dirLen = (data+(first-2)*perCluster)*sector, perCluster*sector
	case clusters < 4085:
		f.Type = "fat12"
	}
	if id[0] == 0x28 || id[0] == 0x29 {
		f.UUID = fatID(le.Uint32(id[1:]))
		f.Label = strings.TrimRight(string(id[5:16]), " \x00")
	}
	if name := fatLabel(p.at(int64(dirAt), int64(min(dirLen, 64<<10)))); name != "" {
		f.Label = name
	}
	if f.Label == "NO NAME" || id[0] == 0x28 {
		f.Label = ""
	}
	return f, true
}

// fatLabel finds the volume's name in the root directory, which counts for
// more than the boot sector's.
func fatLabel(dir []byte) string {
	for ; len(dir) >= 32 && dir[0] != 0; dir = dir[32:] {
		const volumeID, longName = 0x08, 0x0f
		if attr := dir[11]; dir[0] != 0xe5 && attr&0x3f != longName && attr&volumeID != 0 {
			return strings.TrimRight(string(dir[:11]), " ")
		}
	}
	return ""
}

func fatID(n uint32) string { return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff) }

// refs (libfsrefs, "Resilient File System format": volume header).
func refs(p *peek) (Format, bool) {
	b := p.at(0, 512)
	if b == nil || string(b[3:11]) != "ReFS\x00\x00\x00\x00" || string(b[16:20]) != "FSRS" {
		return Format{}, false
	}
	return Format{Type: "refs", Used: -1, Refused: namedOnly, UUID: fmt.Sprintf("%016X", le.Uint64(b[56:])),
		Size: product(le.Uint64(b[24:]), uint64(le.Uint32(b[32:])))}, true
}

// ldmTypes are the partitions of a Windows dynamic disk: of an MBR, and the
// metadata and data of a GPT.
var ldmTypes = map[string]bool{
	"0x42":                                 true,
	"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3": true,
	"af9b60a0-1431-4f62-bc68-3311714a69ad": true,
}

// ldm names a partition of a dynamic disk. The private header, in sector 6 of
// the disk or the last one of the metadata partition, tells the disk group.
func (f *finder) ldm(disk, l place) {
	v := f.add(l)
	v.Type, v.State = "ldm", Unsupported
	v.addReason("volumes of a Windows dynamic disk are not supported")
	p := &peek{ctx: f.ctx, v: disk.dev}
	defer p.done()
	at := int64(6 * 512)
	if l.part.Type != "0x42" {
		p.v, at = l.dev, l.dev.Size()-512
	}
	if b := p.at(at, 512); b != nil && string(b[:8]) == "PRIVHEAD" {
		v.UUID, v.Label = text(b[0xb0:0xf0]), text(b[0xf0:0x110])
	}
}
