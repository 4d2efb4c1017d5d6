package vhdx

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

// Places in the images that the tests write.
const (
	logPlace  = 1 * mib
	metaPlace = 2 * mib
	batPlace  = 3 * mib
)

// spec describes a VHDX that the tests write, following the specification.
type spec struct {
	guest     []byte // the guest's bytes where they are present
	blockSize int
	sector    int // logical; 0: 512
	dataWrite guid
	// present tells whether a sector is in this file; nil: all are.
	present func(sector int) bool
	// states overrides the state of payload blocks.
	states map[int]uint64
	// parent, when it is not nil, makes the image a differencing one; keys
	// are those of the parent locator.
	parent map[string]string
	// extra metadata items and regions, as whole table entries.
	items, regions [][]byte
}

func (s spec) sectorSize() int {
	if s.sector == 0 {
		return 512
	}
	return s.sector
}

// build writes the image.
func (s spec) build() []byte {
	out := make([]byte, 4*mib)
	copy(out, signature)
	copy(out[headerOff1:], s.header(1, guid{}))
	copy(out[headerOff2:], s.header(2, guid{}))
	copy(out[metaPlace:], s.metadata())
	table := s.regionTable()
	copy(out[regionTable1:], table)
	copy(out[regionTable2:], table)
	s.appendBlocks(&out)
	return out
}

func (s spec) header(sequence uint64, log guid) []byte {
	h := make([]byte, headerSize)
	copy(h, "head")
	binary.LittleEndian.PutUint64(h[8:], sequence)
	copy(h[32:], s.dataWrite[:])
	copy(h[48:], log[:])
	binary.LittleEndian.PutUint16(h[66:], 1)
	binary.LittleEndian.PutUint32(h[68:], 1*mib)
	binary.LittleEndian.PutUint64(h[72:], logPlace)
	seal(h)
	return h
}

// seal sets the checksum of a structure that keeps it in its bytes 4..7.
func seal(b []byte) { binary.LittleEndian.PutUint32(b[4:], sum(b)) }

func (s spec) regionTable() []byte {
	b := make([]byte, regionTableSize)
	copy(b, "regi")
	entries := append([][]byte{regionEntry(batRegion, batPlace, mib, 1), regionEntry(metadataRegion, metaPlace, mib, 1)}, s.regions...)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(entries)))
	copy(b[16:], bytes.Join(entries, nil))
	seal(b)
	return b
}

func regionEntry(id guid, off uint64, length, required uint32) []byte {
	b := append([]byte(nil), id[:]...)
	b = binary.LittleEndian.AppendUint64(b, off)
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint32(b, required)
}

func itemEntry(id guid, off, length, flags uint32) []byte {
	b := append([]byte(nil), id[:]...)
	for _, v := range []uint32{off, length, flags, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func (s spec) metadata() []byte {
	params := binary.LittleEndian.AppendUint32(nil, uint32(s.blockSize))
	flags := uint32(0)
	if s.parent != nil {
		flags = paramHasParent
	}
	params = binary.LittleEndian.AppendUint32(params, flags)
	items := []struct {
		id    guid
		flags uint32
		data  []byte
	}{
		{itemFileParameters, 4, params},
		{itemDiskSize, 6, binary.LittleEndian.AppendUint64(nil, uint64(len(s.guest)))},
		{itemDiskID, 6, make([]byte, 16)},
		{itemLogicalSector, 6, binary.LittleEndian.AppendUint32(nil, uint32(s.sectorSize()))},
		{itemPhysicalSector, 6, binary.LittleEndian.AppendUint32(nil, 4096)},
	}
	if s.parent != nil {
		items = append(items, struct {
			id    guid
			flags uint32
			data  []byte
		}{itemParentLocator, 4, s.locator()})
	}
	b := make([]byte, metadataTableSize, 2*metadataTableSize)
	copy(b, "metadata")
	binary.LittleEndian.PutUint16(b[10:], uint16(len(items)+len(s.items)))
	place := entrySize
	for _, it := range items {
		copy(b[place:], itemEntry(it.id, uint32(len(b)), uint32(len(it.data)), it.flags))
		b = append(b, it.data...)
		place += entrySize
	}
	copy(b[place:], bytes.Join(s.items, nil))
	return b
}

func (s spec) locator() []byte {
	b := append([]byte(nil), locatorType[:]...)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s.parent)))
	strings := locatorHeader + len(s.parent)*locatorEntry
	var text []byte
	for _, key := range []string{"absolute_win32_path", "parent_linkage", "parent_linkage2", "relative_path", "volume_path"} {
		value, ok := s.parent[key]
		if !ok {
			continue
		}
		k, v := utf16le(key), utf16le(value)
		b = binary.LittleEndian.AppendUint32(b, uint32(strings+len(text)))
		b = binary.LittleEndian.AppendUint32(b, uint32(strings+len(text)+len(k)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(k)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(v)))
		text = append(append(text, k...), v...)
	}
	return append(b, text...)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// appendBlocks writes the payload blocks, the sector bitmap blocks and the BAT.
// Block n of the file is one of blockSize, bitmaps are padded to that.
func (s spec) appendBlocks(out *[]byte) {
	ratio := 1 << 23 * s.sectorSize() / s.blockSize
	blocks := (len(s.guest)-1)/s.blockSize + 1
	bitmaps := map[int][]byte{} // by chunk
	entry := func(index int, state uint64, off int) {
		binary.LittleEndian.PutUint64((*out)[batPlace+index*batEntrySize:], uint64(off)|state)
	}
	for b := range blocks {
		chunk := b / ratio
		if bitmaps[chunk] == nil {
			bitmaps[chunk] = make([]byte, bitmapBlockSize)
		}
		data, some, all := s.block(b, b%ratio*(s.blockSize/s.sectorSize()), bitmaps[chunk])
		state, forced := s.states[b]
		if !forced {
			switch {
			case all:
				state = fullyPresent
			case some:
				state = partiallyPresent
			}
		}
		off := 0
		if state >= fullyPresent {
			off = len(*out)
			*out = append(*out, data...)
		}
		entry(b+b/ratio, state, off)
	}
	if s.parent == nil {
		return
	}
	for chunk := 0; chunk*ratio < blocks; chunk++ {
		entry((chunk+1)*(ratio+1)-1, fullyPresent, len(*out))
		*out = append(*out, bitmaps[chunk]...)
	}
}

// block makes a payload block and sets its bits, from number first on.
func (s spec) block(b, first int, bitmap []byte) (data []byte, some, all bool) {
	data = make([]byte, s.blockSize)
	all = true
	for off := 0; off < s.blockSize; off += s.sectorSize() {
		at := b*s.blockSize + off
		if at >= len(s.guest) {
			break
		}
		if s.present != nil && !s.present(at/s.sectorSize()) && s.states[b] != fullyPresent {
			all = false
			continue
		}
		some = true
		bit := first + off/s.sectorSize()
		bitmap[bit/8] |= 1 << (bit % 8)
		copy(data[off:off+s.sectorSize()], s.guest[at:])
	}
	return data, some, all
}

// under returns what the guest sees: the child's sectors where they are
// present, the parent's elsewhere, zeros behind its end and in zero blocks.
func (s spec) under(parent []byte) []byte {
	want := append([]byte(nil), s.guest...)
	for off := 0; off < len(want); off += s.sectorSize() {
		sector := want[off:min(off+s.sectorSize(), len(want))]
		state, forced := s.states[off/s.blockSize]
		switch {
		case forced && state == fullyPresent:
		case forced && state != notPresent && state != partiallyPresent:
			clear(sector)
		case forced && state == notPresent, !s.present(off / s.sectorSize()):
			clear(sector)
			if off < len(parent) {
				copy(sector, parent[off:])
			}
		}
	}
	return want
}
