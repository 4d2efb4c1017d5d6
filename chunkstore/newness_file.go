package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The file "filter" is a filter that an owner left behind. It is of a set of packs:
//
//	 0  8   magic
//	 8 16   the set's sum
//	24  8   packs in the set
//	32  8   words
//	40      words, u64 each
//	     4  CRC-32C of all before
//
// An index leads only into the packs that it knows, packs never change, and a chunk
// that no longer is in the index has taken a pack along. So where the index knows
// exactly the set's packs, the filter knows all its chunks, whatever crashed or was
// copied in between. Not so where a pack enters that lies there already, in an index
// that is made anew or from a backup: of a chunk with two records that leads to
// one to which nothing led before. The file is removed before that. It is
// not synced: the sum tells.

const (
	filterName  = "filter"
	filterMagic = "hffilt\x00\x01"
	filterHead  = 40
	// fileLeast is how many chunks a filter must have that is worth a file; fewer
	// are read from the index within half a second.
	fileLeast = 1 << 20
	// filterPiece is what is read and written of the file at once.
	filterPiece = 128 << 10
)

var (
	filterTable = crc32.MakeTable(crc32.Castagnoli)
	errFilter   = errors.New("the file filter is damaged")
)

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

// packSet returns the packs that the index knows, and how many records they hold.
func (s *Store) packSet() (set packSet, records int64, err error) {
	err = s.packs(context.Background(), func(n uint64, info packInfo) {
		set.add(n)
		records += int64(info.records)
	})
	return set, records, err
}

func (p packSet) head(words int) []byte {
	b := []byte(filterMagic)
	for _, n := range []uint64{p.sum[0], p.sum[1], p.packs, uint64(words)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

func (s *Store) filterPath() string { return s.fs.PathJoin(s.dir, filterName) }

// openFilter opens the file and reads its head.
func (s *Store) openFilter() (f vfs.File, set packSet, words int, err error) {
	if f, err = s.fs.Open(s.filterPath(), vfs.SequentialReadsOption); err != nil {
		return nil, set, 0, err
	}
	var head [filterHead]byte
	if _, err = io.ReadFull(f, head[:]); err == nil {
		n := binary.LittleEndian.Uint64(head[32:])
		set = packSet{[2]uint64{binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint64(head[16:])}, binary.LittleEndian.Uint64(head[24:])}
		if words = int(n); string(head[:8]) != filterMagic || n == 0 || n > maxFilter/8 || n%bloomWords != 0 {
			err = errFilter
		}
	}
	if err != nil {
		f.Close()
		return nil, set, 0, err
	}
	return f, set, words, nil
}

// hasFilter reports whether there is a file of this set of packs.
func (s *Store) hasFilter(want packSet) bool {
	f, set, _, err := s.openFilter()
	if err != nil {
		return false
	}
	f.Close()
	return set == want
}

// savedFilterSize is the size in bytes of the filter in the file; 0: there is none.
func (s *Store) savedFilterSize() int {
	f, _, words, err := s.openFilter()
	if err != nil {
		return 0
	}
	f.Close()
	return words * 8
}

// readFilter adds the bits in the file, if it is of this set of packs. On an error
// into holds some of them and is worth nothing.
func (s *Store) readFilter(into *bloom, want packSet) error {
	f, set, words, err := s.openFilter()
	if err != nil {
		return err
	}
	defer f.Close()
	if set != want || words != len(into.words) {
		return errNotWorth
	}
	sum := crc32.Update(0, filterTable, set.head(words))
	buf := make([]byte, filterPiece)
	for at := 0; at < words; {
		b := buf[:min(len(buf), 8*(words-at))]
		if _, err := io.ReadFull(f, b); err != nil {
			return fmt.Errorf("%w: %w", errFilter, err)
		}
		sum = crc32.Update(sum, filterTable, b)
		at += into.merge(at, b)
	}
	if _, err := io.ReadFull(f, buf[:4]); err != nil || binary.LittleEndian.Uint32(buf) != sum {
		return errFilter
	}
	s.newness.setSaved(set)
	return nil
}

func (n *newness) setSaved(set packSet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.saved = set
}

// saveFilter writes the filter for the next owner, unless the file is of the same
// packs, the index is small, or the room is needed by who frees some.
func (s *Store) saveFilter(ctx context.Context) error {
	n := &s.newness
	set, records, err := s.packSet()
	if err != nil {
		return err
	}
	least := n.least
	if least == 0 {
		least = fileLeast
	}
	if set == n.saved || records < least || s.roomFor(int64(len(n.known.Load().words)*8)) != nil {
		return nil
	}
	tmp := s.fs.PathJoin(s.dir, "."+filterName+".new")
	f, err := s.fs.Create(tmp, "holdfast-filter")
	if err != nil {
		return err
	}
	if err := errors.Join(writeFilter(f, set, n.known.Load()), f.Close(), ctx.Err()); err != nil {
		return errors.Join(err, s.fs.Remove(tmp)) // the disk may be full
	}
	return s.fs.Rename(tmp, s.filterPath())
}

func writeFilter(f io.Writer, set packSet, b *bloom) error {
	head := set.head(len(b.words))
	sum := crc32.Update(0, filterTable, head) // before the write, which may change it (vfs.File)
	if _, err := f.Write(head); err != nil {
		return err
	}
	buf := make([]byte, 0, filterPiece)
	for words := b.words; len(words) > 0; {
		n := min(len(words), filterPiece/8)
		buf = buf[:0]
		for _, w := range words[:n] {
			buf = binary.LittleEndian.AppendUint64(buf, w)
		}
		words, sum = words[n:], crc32.Update(sum, filterTable, buf)
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	_, err := f.Write(binary.LittleEndian.AppendUint32(nil, sum))
	return err
}

// dropFilter removes the file: a pack that the index knew has entries now that were
// not led to before.
func (s *Store) dropFilter() {
	err := s.fs.Remove(s.filterPath())
	if err == nil {
		s.log.Debug("the filter of what is new was of another index")
		err = syncDir(s.fs, s.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the filter of what is new can't be removed; chunks may be stored twice", "err", err)
	}
	s.newness.setSaved(packSet{})
}
