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
	magicPrefix  = "HFr" // the version's digit follows; this must not change: it is on disk
	magicLen     = len(magicPrefix) + 1
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

// Format is the oldest store format whose records may be compressed so.
func (c CodecID) Format() int {
	if c == CodecMinLZ {
		return 2
	}
	return 1
}

// recordVersion says by what a record's sums are made. It is the last digit of the
// record's magic.
type recordVersion uint8

const (
	recordV1 recordVersion = 1
	recordV2 recordVersion = 2 // since format 3

	formatV2 = 3 // the store format that brought recordV2, and parity whose sums are alike
)

// versionFor is the version of the records that a store of this format takes.
func versionFor(format int) recordVersion {
	if format < formatV2 {
		return recordV1
	}
	return recordV2
}

// magic is how a record of this version begins.
func (v recordVersion) magic() (m [magicLen]byte) {
	copy(m[:], magicPrefix)
	m[magicLen-1] = '0' + byte(v)
	return m
}

// versionOf returns the version of the record that b begins with.
func versionOf(b []byte) (recordVersion, error) {
	for _, v := range []recordVersion{recordV2, recordV1} {
		if v.magic() == [magicLen]byte(b) {
			return v, nil
		}
	}
	return 0, fmt.Errorf("record header: magic %x, want %x or %x", b[:magicLen], recordV2.magic(), recordV1.magic())
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

// Format is the oldest store format that holds such a record.
func (r Record) Format() int {
	format := r.Codec().Format()
	if recordV2.magic() == [magicLen]byte(r.Bytes) {
		format = formatV2
	}
	return format
}

// header is a record's header, decoded.
type header struct {
	version    recordVersion
	kind       Kind
	codec      CodecID
	frameLog   uint8 // 0: one frame
	plainLen   int
	payloadLen int
	id         ID
	sum        [sumLen]byte
}

func (h *header) put(b []byte) {
	m := h.version.magic()
	copy(b, m[:])
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
	v, err := versionOf(b)
	if err != nil {
		return header{}, err
	}
	h := header{version: v, kind: Kind(b[4]), codec: CodecID(b[5]), frameLog: b[6]}
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
		err = h.fits(h.version.sum(rec))
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
