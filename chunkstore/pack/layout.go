package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// HeaderLen is the length of a pack's header, and the offset of its
	// first record.
	HeaderLen = 64
	// TrailerLen is the length of a pack's trailer.
	TrailerLen = 64
	// EntryLen is the length of a footer entry.
	EntryLen = 48
	// MaxPack is the most bytes that a pack may have; offsets are 32 bits.
	MaxPack = 1 << 31

	headerMagic  = "HFPACK\x00\x01" // this must not change: it is on disk
	trailerMagic = "HFPEND\x00\x01" // this must not change: it is on disk
	maxEntries   = MaxPack / RecordHeaderLen
)

// Class says which kinds of records a pack holds.
type Class uint8

const (
	ClassData Class = 0
	ClassMeta Class = 1
)

func (c Class) String() string {
	if c == ClassMeta {
		return "meta"
	}
	return "data"
}

// ClassOf returns the class of packs that hold records of kind k.
func ClassOf(k Kind) Class {
	if k.Meta() {
		return ClassMeta
	}
	return ClassData
}

// Header begins a pack.
type Header struct {
	Pack  uint64
	Store [16]byte
	Class Class
}

// Entry is what a footer tells of one record.
type Entry struct {
	ID         ID
	Offset     uint32 // of the record in the pack
	PayloadLen uint32
	PlainLen   uint32
	Kind       Kind
	Codec      CodecID
}

// RecordLen is the length of the whole record.
func (e Entry) RecordLen() int { return RecordHeaderLen + int(e.PayloadLen) }

// ErrNoHeader says that a pack's header is lost. Its records can still be
// scanned.
var ErrNoHeader = errors.New("pack has no valid header")

// ErrNoTrailer says that a pack does not end in a valid trailer: it was not
// finished, or its end is damaged. Its records can still be scanned.
var ErrNoTrailer = errors.New("pack has no valid trailer")

// Append appends the header to b.
func (h Header) Append(b []byte) []byte {
	start := len(b)
	b = append(b, headerMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.Pack)
	b = append(b, h.Store[:]...)
	b = append(b, byte(h.Class))
	b = append(b, make([]byte, HeaderLen-sumLen-(len(b)-start))...)
	s := Sum(b[start:])
	return append(b, s[:]...)
}

// ParseHeader reads and proves a pack's header.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("pack header: %d bytes, want %d", len(b), HeaderLen)
	}
	if string(b[:8]) != headerMagic {
		return Header{}, fmt.Errorf("pack header: magic %q, want %q", b[:8], headerMagic)
	}
	if s := Sum(b[:HeaderLen-sumLen]); string(s[:]) != string(b[HeaderLen-sumLen:HeaderLen]) {
		return Header{}, errors.New("pack header: sum does not fit")
	}
	h := Header{Pack: binary.LittleEndian.Uint64(b[8:]), Class: Class(b[32])}
	copy(h.Store[:], b[16:])
	if h.Class > ClassMeta {
		return Header{}, fmt.Errorf("pack header: unknown class %d", h.Class)
	}
	return h, nil
}

func (e Entry) append(b []byte) []byte {
	b = append(b, e.ID[:]...)
	b = binary.LittleEndian.AppendUint32(b, e.Offset)
	b = binary.LittleEndian.AppendUint32(b, e.PayloadLen)
	b = binary.LittleEndian.AppendUint32(b, e.PlainLen)
	return append(b, byte(e.Kind), byte(e.Codec), 0, 0)
}

func parseEntry(b []byte, limit int64) (Entry, error) {
	e := Entry{
		Offset:     binary.LittleEndian.Uint32(b[32:]),
		PayloadLen: binary.LittleEndian.Uint32(b[36:]),
		PlainLen:   binary.LittleEndian.Uint32(b[40:]),
		Kind:       Kind(b[44]),
		Codec:      CodecID(b[45]),
	}
	copy(e.ID[:], b)
	switch {
	case e.Kind < KindData || e.Kind > KindRoot || e.Codec > CodecMinLZ:
		return Entry{}, fmt.Errorf("unknown %v or codec %d", e.Kind, uint8(e.Codec))
	case e.PlainLen == 0 || e.PlainLen > MaxChunk || e.PayloadLen == 0 || e.PayloadLen > MaxRecord-RecordHeaderLen:
		return Entry{}, fmt.Errorf("lengths %d and %d out of bounds", e.PlainLen, e.PayloadLen)
	case e.Offset < HeaderLen || int64(e.Offset)+int64(e.RecordLen()) > limit:
		return Entry{}, fmt.Errorf("record at %d lies outside the records", e.Offset)
	}
	return e, nil
}

// appendEntries appends the footer.
func appendEntries(b []byte, entries []Entry) []byte {
	for _, e := range entries {
		b = e.append(b)
	}
	return b
}
