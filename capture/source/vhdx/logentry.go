package vhdx

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const (
	logSector       = 4 * kib
	logHeaderSize   = 64
	descriptorSize  = 32
	maxFileOff      = 1 << 62 // far beyond any file: sums of two do not overflow
	sectorLeadBytes = 8       // of a data sector, kept in its descriptor
	sectorTailBytes = 4
)

// logEntry is a valid entry of the log, without its descriptors.
type logEntry struct {
	off      int64 // in the log
	length   int64
	tail     int64 // in the log
	sequence uint64
	count    int64 // descriptors
	flushed  int64 // the file was at least so long
	last     int64 // and must become so long
}

// parseLogHeader reads an entry's header that lies at off of a log of size
// bytes; ok tells whether an entry of the log id may begin so.
func parseLogHeader(b []byte, off, size int64, id guid) (e logEntry, ok bool) {
	e = logEntry{
		off:      off,
		length:   int64(binary.LittleEndian.Uint32(b[8:])),
		tail:     int64(binary.LittleEndian.Uint32(b[12:])),
		sequence: binary.LittleEndian.Uint64(b[16:]),
		count:    int64(binary.LittleEndian.Uint32(b[24:])),
		flushed:  int64(binary.LittleEndian.Uint64(b[48:])),
		last:     int64(binary.LittleEndian.Uint64(b[56:])),
	}
	ok = hasEntry(b, id) &&
		e.length >= logSector && e.length%logSector == 0 && e.length <= size &&
		e.tail%logSector == 0 && e.tail < size && e.sequence > 0 &&
		e.descriptorBytes() <= e.length &&
		e.flushed >= 0 && e.last >= 0 && e.last < maxFileOff
	return e, ok
}

// hasEntry tells whether a header claims to be an entry of the log id.
func hasEntry(b []byte, id guid) bool {
	return string(b[:4]) == "loge" && guid(b[32:48]) == id
}

// descriptorBytes is the length of the sectors that hold the descriptors.
func (e logEntry) descriptorBytes() int64 {
	return (logHeaderSize + e.count*descriptorSize + logSector - 1) / logSector * logSector
}

// descriptor is one write of an entry.
type descriptor struct {
	off    int64 // in the file
	length int64
	zero   bool
	lead   [sectorLeadBytes]byte // of the data
	trail  [sectorTailBytes]byte
}

// parseDescriptor reads a descriptor of an entry with the sequence number
// given.
func parseDescriptor(b []byte, sequence uint64) (d descriptor, ok bool) {
	d.off = int64(binary.LittleEndian.Uint64(b[16:]))
	switch string(b[:4]) {
	case "desc":
		d.length = logSector
		copy(d.trail[:], b[4:])
		copy(d.lead[:], b[8:])
	case "zero":
		d.zero = true
		d.length = int64(binary.LittleEndian.Uint64(b[8:]))
	default:
		return d, false
	}
	ok = d.off >= 0 && d.off < maxFileOff && d.off%logSector == 0 &&
		d.length >= 0 && d.length < maxFileOff && d.length%logSector == 0 &&
		binary.LittleEndian.Uint64(b[24:]) == sequence
	return d, ok
}

// validDataSector tells whether a sector was written with an entry of the
// sequence number given: a torn write shows at one of its ends.
func validDataSector(b []byte, sequence uint64) bool {
	return string(b[:4]) == "data" &&
		binary.LittleEndian.Uint32(b[4:]) == uint32(sequence>>32) &&
		binary.LittleEndian.Uint32(b[logSector-sectorTailBytes:]) == uint32(sequence)
}

// neverWritten tells whether a sector of an entry still holds what the log had
// there before: zeros, or a sector of another entry. A sector of this entry in
// which a bit flipped is neither.
func neverWritten(b []byte, sequence uint64) bool {
	if string(b[:4]) == "loge" {
		return true
	}
	high, low := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[logSector-sectorTailBytes:])
	if string(b[:4]) == "data" {
		return high != uint32(sequence>>32) || low != uint32(sequence)
	}
	return len(bytes.TrimLeft(b[:logSector], "\x00")) == 0
}

// entryCheck proves an entry sector by sector, so that no entry, whatever
// length it claims, is held in memory.
type entryCheck struct {
	entry logEntry
	want  uint32 // checksum
	sum   uint32
	pos   int64 // bytes seen
	left  int64 // descriptors not seen yet
	data  int64 // data sectors not seen yet
}

// add takes the next sector; false means that the entry is not valid.
func (c *entryCheck) add(b []byte) bool {
	start := 0
	if c.pos == 0 {
		c.want = binary.LittleEndian.Uint32(b[4:])
		c.left = c.entry.count
		start = logHeaderSize
	}
	ok := true
	switch {
	case c.pos < c.entry.descriptorBytes():
		ok = c.addDescriptors(b[start:])
	case c.data > 0:
		c.data--
		ok = validDataSector(b, c.entry.sequence)
	}
	if c.pos == 0 {
		var zero [4]byte
		c.sum = crc32.Update(0, castagnoli, b[:4])
		c.sum = crc32.Update(c.sum, castagnoli, zero[:])
		b = b[8:]
	}
	c.sum = crc32.Update(c.sum, castagnoli, b)
	c.pos += logSector
	return ok
}

// addDescriptors counts the data sectors that the descriptors in b ask for.
func (c *entryCheck) addDescriptors(b []byte) bool {
	for ; c.left > 0 && len(b) >= descriptorSize; b = b[descriptorSize:] {
		d, ok := parseDescriptor(b, c.entry.sequence)
		if !ok {
			return false
		}
		if !d.zero {
			c.data++
		}
		c.left--
	}
	return true
}

// done tells, after the last sector, whether the entry is valid.
func (c *entryCheck) done() bool { return c.left == 0 && c.data == 0 && c.sum == c.want }
