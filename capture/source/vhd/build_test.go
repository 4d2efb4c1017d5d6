package vhd

import (
	"encoding/binary"
	"unicode/utf16"
)

// spec describes a VHD that the tests write, following the specification.
type spec struct {
	kind      diskType
	guest     []byte // the guest's bytes where they are present
	id        uuid
	stamp     uint32
	blockSize int
	// present tells whether a sector is in this file; nil: all are. A block
	// without any is not allocated.
	present func(sector int) bool
	// clearBits leaves the bitmap empty whatever is present.
	clearBits   bool
	parentID    uuid
	parentStamp uint32
	parentName  string            // of the header
	locators    map[string][]byte // by platform code
}

// build writes the image.
func (s spec) build() []byte {
	foot := s.footer()
	if s.kind == typeFixed {
		return append(append([]byte(nil), s.guest...), foot...)
	}
	blocks := (len(s.guest)-1)/s.blockSize + 1
	out := append(append([]byte(nil), foot...), make([]byte, headerSize)...)
	locators := s.appendLocators(&out)
	tableOff := len(out)
	table := make([]byte, align(blocks*entrySize))
	out = append(out, table...)
	for b := range blocks {
		binary.BigEndian.PutUint32(table[b*entrySize:], s.appendBlock(&out, b))
	}
	copy(out[tableOff:], table)
	copy(out[footerSize:], s.header(tableOff, blocks, locators))
	return append(out, foot...)
}

func align(n int) int { return (n + sectorSize - 1) / sectorSize * sectorSize }

// appendBlock writes a block and returns its BAT entry.
func (s spec) appendBlock(out *[]byte, b int) uint32 {
	perBlock := s.blockSize / sectorSize
	bitmap := make([]byte, align((perBlock+7)/8))
	data := make([]byte, s.blockSize)
	some := false
	for i := range perBlock {
		sector := b*perBlock + i
		off := sector * sectorSize
		if off >= len(s.guest) || s.present != nil && !s.present(sector) {
			continue
		}
		some = true
		if !s.clearBits {
			bitmap[i/8] |= 0x80 >> (i % 8)
		}
		copy(data[i*sectorSize:(i+1)*sectorSize], s.guest[off:])
	}
	if !some {
		return unallocated
	}
	at := len(*out) / sectorSize
	*out = append(append(*out, bitmap...), data...)
	return uint32(at)
}

// appendLocators writes the locators' data and returns their table.
func (s spec) appendLocators(out *[]byte) []byte {
	table := make([]byte, locatorCount*locatorSize)
	i := 0
	for _, code := range []string{"W2ku", "MacX", "Wi2r", "W2ru"} { // absolute first: the order must not matter
		data, ok := s.locators[code]
		if !ok {
			continue
		}
		l := table[i*locatorSize:]
		copy(l, code)
		binary.BigEndian.PutUint32(l[4:], uint32(align(len(data))/sectorSize))
		binary.BigEndian.PutUint32(l[8:], uint32(len(data)))
		binary.BigEndian.PutUint64(l[16:], uint64(len(*out)))
		*out = append(append(*out, data...), make([]byte, align(len(data))-len(data))...)
		i++
	}
	return table
}

func (s spec) header(tableOff, blocks int, locators []byte) []byte {
	h := make([]byte, headerSize)
	copy(h, headerCookie)
	binary.BigEndian.PutUint64(h[8:], ^uint64(0))
	binary.BigEndian.PutUint64(h[16:], uint64(tableOff))
	binary.BigEndian.PutUint32(h[24:], 0x00010000)
	binary.BigEndian.PutUint32(h[28:], uint32(blocks))
	binary.BigEndian.PutUint32(h[32:], uint32(s.blockSize))
	copy(h[40:], s.parentID[:])
	binary.BigEndian.PutUint32(h[56:], s.parentStamp)
	for i, u := range utf16.Encode([]rune(s.parentName)) {
		binary.BigEndian.PutUint16(h[64+2*i:], u)
	}
	copy(h[locatorsOff:], locators)
	binary.BigEndian.PutUint32(h[36:], sum(h, 36))
	return h
}

func (s spec) footer() []byte {
	f := make([]byte, footerSize)
	copy(f, footerCookie)
	binary.BigEndian.PutUint32(f[8:], 2)
	binary.BigEndian.PutUint32(f[12:], 0x00010000)
	binary.BigEndian.PutUint64(f[16:], footerSize)
	if s.kind == typeFixed {
		binary.BigEndian.PutUint64(f[16:], ^uint64(0))
	}
	binary.BigEndian.PutUint32(f[24:], s.stamp)
	copy(f[28:], "win ")
	binary.BigEndian.PutUint32(f[32:], 0x000a0000)
	copy(f[36:], "Wi2k")
	binary.BigEndian.PutUint64(f[40:], uint64(len(s.guest)))
	binary.BigEndian.PutUint64(f[48:], uint64(len(s.guest)))
	binary.BigEndian.PutUint32(f[60:], uint32(s.kind))
	copy(f[68:], s.id[:])
	binary.BigEndian.PutUint32(f[64:], sum(f, 64))
	return f
}

// utf16le encodes a path as the locators have it.
func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// under returns what the guest sees: the child's sectors where they are
// present, the parent's elsewhere, zeros behind its end.
func (s spec) under(parent []byte) []byte {
	want := append([]byte(nil), s.guest...)
	for off := 0; off < len(want); off += sectorSize {
		if s.present(off / sectorSize) {
			continue
		}
		sector := want[off:min(off+sectorSize, len(want))]
		clear(sector)
		if off < len(parent) {
			copy(sector, parent[off:])
		}
	}
	return want
}
