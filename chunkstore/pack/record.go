package pack

import (
	"encoding/binary"
	"fmt"
)

// RecordHeaderLen is the length of a record's header in bytes.
const RecordHeaderLen = 64

// MaxRecord is the longest record: a header and a payload that did not shrink,
// with the largest frame table.
const MaxRecord = RecordHeaderLen + MaxChunk + maxFrames*frameEntryLen

const (
	recordMagic  = 0x31724648 // "HFr1", this must not change: it is on disk
	sumLen       = 16
	recordSumOff = RecordHeaderLen - sumLen
)

// CodecID says how a payload is compressed. Its number is on disk.
type CodecID uint8

const (
	CodecRaw   CodecID = 0
	CodecZstd  CodecID = 1
	CodecMinLZ CodecID = 2 // since format 2
)

var codecNames = [...]string{CodecRaw: "none", CodecZstd: "zstd", CodecMinLZ: "minlz"}

func (c CodecID) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ParseCompression returns the codec that compresses of that name.
func ParseCompression(name string) (CodecID, error) {
	for _, c := range []CodecID{CodecMinLZ, CodecZstd} {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("compression %q: there are %v and %v", name, CodecMinLZ, CodecZstd)
}

// Record is one chunk as it lies in a pack.
type Record struct {
	ID       ID
	Kind     Kind
	PlainLen int
	Bytes    []byte // header and payload
}

// Codec says how the record is compressed.
func (r Record) Codec() CodecID { return CodecID(r.Bytes[5]) }

// header is a record's header, decoded.
type header struct {
	kind       Kind
	codec      CodecID
	frameLog   uint8 // 0: one frame
	plainLen   int
	payloadLen int
	id         ID
	sum        [sumLen]byte
}

func (h *header) put(b []byte) {
	binary.LittleEndian.PutUint32(b[0:], recordMagic)
	b[4], b[5], b[6], b[7] = byte(h.kind), byte(h.codec), h.frameLog, 0
	binary.LittleEndian.PutUint32(b[8:], uint32(h.plainLen))
	binary.LittleEndian.PutUint32(b[12:], uint32(h.payloadLen))
	copy(b[16:], h.id[:])
}

// parseHeader reads and bounds a record's header. It proves nothing.
func parseHeader(b []byte) (header, error) {
	if len(b) < RecordHeaderLen {
		return header{}, fmt.Errorf("record header: %d bytes, want %d", len(b), RecordHeaderLen)
	}
	if m := binary.LittleEndian.Uint32(b); m != recordMagic {
		return header{}, fmt.Errorf("record header: magic %#08x, want %#08x", m, uint32(recordMagic))
	}
	h := header{kind: Kind(b[4]), codec: CodecID(b[5]), frameLog: b[6]}
	plain, payload := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	switch {
	case h.kind < KindData || h.kind > KindRoot:
		return header{}, fmt.Errorf("record header: unknown %v", h.kind)
	case h.codec > CodecMinLZ:
		return header{}, fmt.Errorf("record header: unknown codec %d: a newer holdfast wrote it", uint8(h.codec))
	case b[7] != 0:
		return header{}, fmt.Errorf("record header: unknown sealing %d: a newer holdfast wrote it", b[7])
	case plain == 0 || plain > MaxChunk:
		return header{}, fmt.Errorf("record header: plain length %d, want 1 to %d", plain, MaxChunk)
	case payload == 0 || payload > MaxRecord-RecordHeaderLen:
		return header{}, fmt.Errorf("record header: payload length %d out of bounds", payload)
	case h.codec == CodecRaw && payload != plain:
		return header{}, fmt.Errorf("record header: payload of %d bytes stored as it is, plain length %d", payload, plain)
	case h.frameLog != 0 && (h.codec == CodecRaw || h.frameLog < minFrameLog || h.frameLog > maxFrameLog):
		return header{}, fmt.Errorf("record header: frames of 2^%d bytes with codec %d", h.frameLog, uint8(h.codec))
	}
	h.plainLen, h.payloadLen = int(plain), int(payload)
	copy(h.id[:], b[16:])
	copy(h.sum[:], b[recordSumOff:])
	return h, nil
}

// CheckStored proves the stored bytes of a whole record against its checksum,
// without a key and without decoding. It returns the record that b holds at
// its start; Bytes aliases b.
func CheckStored(b []byte) (Record, error) {
	h, rec, err := openStored(b)
	if err == nil {
		err = h.fits(Sum(rec[:recordSumOff], rec[RecordHeaderLen:]))
	}
	if err != nil {
		return Record{}, err
	}
	return Record{ID: h.id, Kind: h.kind, PlainLen: h.plainLen, Bytes: rec}, nil
}

// openStored reads the header of the record that b holds whole at its start, and
// returns both. It proves neither.
func openStored(b []byte) (h header, rec []byte, err error) {
	if h, err = parseHeader(b); err != nil {
		return header{}, nil, err
	}
	if len(b) < RecordHeaderLen+h.payloadLen {
		return header{}, nil, fmt.Errorf("record %v: %d bytes, want %d", h.id, len(b), RecordHeaderLen+h.payloadLen)
	}
	return h, b[:RecordHeaderLen+h.payloadLen], nil
}

// fits says whether the stored bytes' sum is the one that the header tells.
func (h *header) fits(s [sumLen]byte) error {
	if s != h.sum {
		return fmt.Errorf("record %v: stored bytes have sum %x, want %x", h.id, s, h.sum)
	}
	return nil
}
