package pack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// parityKind says how a pack's parity is made. Its number is on disk.
type parityKind uint8

const (
	parityNone   parityKind = 0
	parityBLAKE3 parityKind = 1 // two Reed–Solomon blocks a stripe, blocks summed by BLAKE3
	parityXXH3   parityKind = 2 // the same, blocks summed by XXH3; since format 3
)

// kindFor is the kind of the parity that packs of a store of this format get.
func kindFor(format int) parityKind {
	if format < formatV2 {
		return parityBLAKE3
	}
	return parityXXH3
}

// sum is the sum of a block.
func (k parityKind) sum(block []byte) (s [blockSumLen]byte) {
	if k == parityBLAKE3 {
		full := Sum(block)
		copy(s[:], full[:])
		return s
	}
	binary.LittleEndian.PutUint64(s[:], xxh3.Hash(block))
	return s
}

// trailer is what the last bytes of a pack say of it.
type trailer struct {
	pack      uint64
	footerOff int64
	entries   int64
	parity    parityKind
	stripes   int
	footerSum [sumLen]byte
}

// covered is how many bytes lie before the first sums: what parity protects.
func (t *trailer) covered() int64 { return t.footerOff + t.entries*EntryLen }

// size is the length of the whole pack.
func (t *trailer) size() int64 {
	if t.parity == parityNone {
		return t.covered() + TrailerLen
	}
	return shapeOf(t.covered()).size()
}

// Fills reports whether a finished pack of size bytes has room for nothing but so many
// records, of stored bytes in all, and what each pack has around its records.
func Fills(size int64, records int, stored int64) bool {
	t := trailer{footerOff: HeaderLen + stored, entries: int64(records)}
	for _, t.parity = range []parityKind{parityNone, parityXXH3} {
		if t.size() == size {
			return true
		}
	}
	return false
}

func (t *trailer) append(b []byte) []byte {
	start := len(b)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint64(b, t.pack)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.footerOff))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.entries))
	b = append(b, byte(t.parity), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(t.stripes))
	b = append(b, t.footerSum[:]...)
	s := Sum(b[start:])
	return append(b, s[:]...)
}

// parseTrailer reads, proves and bounds a trailer. A trailer whose sum fits and
// that says what this program does not know is an error of its own; all other
// errors wrap ErrNoTrailer.
func parseTrailer(b []byte) (trailer, error) {
	if len(b) < TrailerLen || string(b[:8]) != trailerMagic {
		return trailer{}, ErrNoTrailer
	}
	if s := Sum(b[:TrailerLen-sumLen]); !bytes.Equal(s[:], b[TrailerLen-sumLen:TrailerLen]) {
		return trailer{}, ErrNoTrailer
	}
	t := trailer{
		pack:    binary.LittleEndian.Uint64(b[8:]),
		entries: int64(binary.LittleEndian.Uint32(b[24:])),
		parity:  parityKind(b[28]),
		stripes: int(binary.LittleEndian.Uint16(b[30:])),
	}
	off := binary.LittleEndian.Uint64(b[16:])
	copy(t.footerSum[:], b[32:])
	if t.parity > parityXXH3 {
		return trailer{}, fmt.Errorf("pack %016x: unknown parity kind %d: a newer holdfast wrote it", t.pack, t.parity)
	}
	if off < HeaderLen || off > MaxPack || t.entries > maxEntries {
		return trailer{}, fmt.Errorf("trailer is out of bounds: %w", ErrNoTrailer)
	}
	t.footerOff = int64(off)
	if t.covered() > MaxPack || t.parity != parityNone && t.stripes != shapeOf(t.covered()).stripes {
		return trailer{}, fmt.Errorf("trailer is out of bounds: %w", ErrNoTrailer)
	}
	return t, nil
}

// findTrailer reads the trailer at the pack's end or, when that is lost, the other
// one: where it stands in a whole pack of this size or, as the pack may be shorter than it
// says, where its magic is found.
func findTrailer(r io.ReaderAt, size int64) (trailer, error) {
	b := make([]byte, TrailerLen)
	if size >= HeaderLen+TrailerLen && readFull(r, b, size-TrailerLen, size) == nil {
		if t, err := parseTrailer(b); err == nil && t.size() == size {
			return t, nil
		} else if err != nil && string(b[:8]) == trailerMagic && !isNoTrailer(err) {
			return trailer{}, err
		}
	}
	for _, covered := range coveredBy(size) {
		off := covered + shapeOf(covered).sumsLen()
		if readFull(r, b, off, size) != nil {
			continue
		}
		if t, err := parseTrailer(b); err == nil && t.stands(off) {
			return t, nil
		}
	}
	return searchTrailer(r, size)
}

const searchWindow = 1 << 20

// searchTrailer looks for a trailer from the end of the pack to its start. What
// can't be read is passed over.
func searchTrailer(r io.ReaderAt, size int64) (trailer, error) {
	buf := make([]byte, searchWindow+TrailerLen)
	for end := size; end > HeaderLen; end -= searchWindow {
		from := max(HeaderLen, end-searchWindow)
		b := buf[:min(end+TrailerLen, size)-from]
		if readFull(r, b, from, size) != nil {
			continue
		}
		for {
			i := bytes.LastIndex(b, []byte(trailerMagic))
			if i < 0 {
				break
			}
			// Only a trailer that stands where it says is one: not a copy
			// inside a record.
			t, err := parseTrailer(b[i:min(i+TrailerLen, len(b))])
			if err == nil && t.stands(from+int64(i)) {
				return t, nil
			}
			b = b[:i]
		}
	}
	return trailer{}, ErrNoTrailer
}

// stands reports whether a trailer of this content belongs at off.
func (t *trailer) stands(off int64) bool {
	if off == t.size()-TrailerLen {
		return true
	}
	return t.parity != parityNone && off == t.covered()+shapeOf(t.covered()).sumsLen()
}
