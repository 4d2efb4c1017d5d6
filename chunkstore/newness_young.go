package chunkstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"

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
	// youngPiece is what is read and written of the file at once.
	youngPiece = 32 << 10
)

// idHead is as much of an id as a filter looks at.
type idHead [16]byte

func headOf(id ID) idHead { return idHead(id[:16]) }

// headBlock is how many ids there are in a block of heads: 32 KiB.
const headBlock = 2 << 10

// heads is a list of ids in blocks, so that one that grows is never copied. Its zero value
// is empty. What is in it does not change: a copy of the struct is what the list was
// then, and may be read while the list takes in more.
type heads struct {
	blocks []*[headBlock]idHead
	n      int
}

func (h *heads) add(id idHead) {
	if h.n%headBlock == 0 {
		h.blocks = append(h.blocks, new([headBlock]idHead))
	}
	h.blocks[h.n/headBlock][h.n%headBlock] = id
	h.n++
}

// all returns the ids in the order in which they were added.
func (h heads) all() iter.Seq[idHead] {
	return func(yield func(idHead) bool) {
		for i := range h.n {
			if !yield(h.blocks[i/headBlock][i%headBlock]) {
				return
			}
		}
	}
}

// sorted returns the ids in order, in memory of their own.
func (h heads) sorted() []idHead {
	ids := slices.AppendSeq(make([]idHead, 0, h.n), h.all())
	slices.SortFunc(ids, func(a, b idHead) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

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

// youngIDs is what a file of ids says.
type youngIDs struct {
	base, set packSet // that the base is of, and both together
	ids       heads
}

// write writes the file, piece by piece.
func (y *youngIDs) write(to io.Writer) error {
	sum := crc32.New(filterTable)
	w := io.MultiWriter(sum, to)
	b := y.set.append(y.base.append(append(make([]byte, 0, youngPiece), youngMagic...)))
	b = binary.LittleEndian.AppendUint64(b, uint64(y.ids.n))
	for id := range y.ids.all() {
		if len(b)+len(id) > youngPiece {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		b = append(b, id[:]...)
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err := to.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

// parseYoung is the inverse of write, for a file of size bytes. It too reads piece by
// piece, and returns nothing of what it has read before it has found the sum to be right.
func parseYoung(from io.Reader, size int64) (*youngIDs, error) {
	sum := crc32.New(filterTable)
	r := bufio.NewReaderSize(io.TeeReader(io.LimitReader(from, size-4), sum), youngPiece)
	var head [youngHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errFilter, err)
	}
	n := binary.LittleEndian.Uint64(head[56:])
	if string(head[:8]) != youngMagic || n > youngMost || size != youngHead+16*int64(n)+4 {
		return nil, errFilter
	}
	y := &youngIDs{base: parsePackSet(head[8:]), set: parsePackSet(head[32:])}
	for range n {
		b, err := r.Peek(len(idHead{}))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errFilter, err)
		}
		y.ids.add(idHead(b))
		r.Discard(len(b)) // that are there
	}
	var want [4]byte
	if _, err := io.ReadFull(from, want[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errFilter, err)
	}
	if binary.LittleEndian.Uint32(want[:]) != sum.Sum32() {
		return nil, errFilter
	}
	return y, nil
}

// readYoung reads the file.
func readYoung(fsys vfs.FS, path string) (*youngIDs, error) {
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return parseYoung(f, st.Size())
}
