package chunkstore

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The file "filter.young" has what entered the index since a filter's base was made,
// when an owner let go of the store:
//
//	 0  8   magic
//	 8 24   sum and number of the packs that the base is of
//	32 24   sum and number of the packs that both together are of
//	56  8   ids
//	64      ids, their first 16 bytes each
//	     4  CRC-32C of all before
//
// It is written whole and not synced: the sum tells.

const (
	youngName  = "filter.young"
	youngMagic = "hfyoung\x01"
	youngHead  = 64
	// youngMost is how many ids are kept beside a base; with more a new base is made of
	// both: 64 MiB to be written for them, at the most. In memory they take 4 MiB.
	youngMost = 1 << 18
	// youngBytes is the size in bytes of what tells them: 32 bits for each id.
	youngBytes = youngMost * 4
)

// idHead is as much of an id as a filter looks at.
type idHead [16]byte

func headOf(id ID) idHead { return idHead(id[:16]) }

// packSet is a set of packs: a sum that does not depend on their order, and their
// number.
type packSet struct {
	sum   [2]uint64
	packs uint64
}

// add takes in a pack. Packs have random numbers; they are mixed so that those that
// were made by hand add up to nothing either.
func (p *packSet) add(n uint64) {
	for i := range p.sum {
		n += 0x9e3779b97f4a7c15
		x := n
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		p.sum[i] += x ^ x>>31
	}
	p.packs++
}

func (p packSet) append(b []byte) []byte {
	for _, n := range []uint64{p.sum[0], p.sum[1], p.packs} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// parsePackSet reads a set from the first 24 bytes of b.
func parsePackSet(b []byte) packSet {
	return packSet{[2]uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, binary.LittleEndian.Uint64(b[16:])}
}

// packSet returns the packs that the index knows, and how many records they hold.
func (s *Store) packSet() (set packSet, records int64, err error) {
	all, err := s.sumPacks()
	return all.set, all.records, err
}

// encodeYoung returns the file of ids.
func encodeYoung(base, set packSet, ids []idHead) []byte {
	b := make([]byte, 0, youngHead+16*len(ids)+4)
	b = set.append(base.append(append(b, youngMagic...)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(ids)))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, filterTable))
}

// parseYoung is the inverse of encodeYoung.
func parseYoung(b []byte) (base, set packSet, ids []idHead, err error) {
	if len(b) < youngHead+4 || string(b[:8]) != youngMagic {
		return base, set, nil, errFilter
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	n := binary.LittleEndian.Uint64(b[56:])
	if n > youngMost || uint64(len(body)) != youngHead+16*n || crc32.Checksum(body, filterTable) != sum {
		return base, set, nil, errFilter
	}
	ids = make([]idHead, n)
	for i := range ids {
		ids[i] = idHead(body[youngHead+16*i:])
	}
	return parsePackSet(b[8:]), parsePackSet(b[32:]), ids, nil
}

// readYoung reads the file, of which it takes no more into memory than one may have.
func readYoung(fsys vfs.FS, path string) (base, set packSet, ids []idHead, err error) {
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return base, set, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return base, set, nil, err
	}
	if st.Size() > youngHead+16*youngMost+4 {
		return base, set, nil, errFilter
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return base, set, nil, err
	}
	return parseYoung(b)
}
