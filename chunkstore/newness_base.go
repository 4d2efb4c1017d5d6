package chunkstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The file "filter" is the base of a filter: what was in the index when it was made.
// It is never changed, and read by the line, as a chunk is asked for: a process has
// none of it in its memory.
//
//	 0  8   magic
//	 8 16   sum of the set of packs that it is of
//	24  8   packs in the set
//	32  8   lines
//	40 20   zero
//	60  4   CRC-32C of all before
//	64      lines, 64 bytes each:
//	           60  a block of 480 bits, of which an id sets four
//	            4  CRC-32C of these, begun with the line's number plus one
//
// With ten bits for each id one stranger in 50 passes, with five one in 8. A line that
// is not as it was written says of every chunk that it may be there. So
// the file is not synced, and whatever became of it, the index is asked once more.

const (
	filterName  = "filter"
	filterMagic = "hffilt\x00\x02"
	lineLen     = 64
	lineBits    = 8 * (lineLen - 4)
	// filterPiece is what is read and written of the file at once.
	filterPiece = 128 << 10
	// mostBad is how many bad lines are asked before a filter is given up.
	mostBad = 1024
)

var (
	filterTable = crc32.MakeTable(crc32.Castagnoli)
	errFilter   = errors.New("the file filter is damaged")
)

// line is a block and its sum.
type line [lineLen]byte

// lineOf returns an id's line, of so many, and where its bits are. Ids in order have
// lines in order.
func lineOf(id idHead, lines uint64) (n, where uint64) {
	n, _ = bits.Mul64(binary.BigEndian.Uint64(id[:]), lines)
	return n, binary.LittleEndian.Uint64(id[8:])
}

// bit returns the next bit of a block for where, and what is left of that.
func bit(where uint64) (n, left uint64) { return where & 511 * lineBits >> 9, where >> 9 }

func (l *line) add(where uint64) {
	for range bloomProbes {
		var n uint64
		n, where = bit(where)
		l[n>>3] |= 1 << (n & 7)
	}
}

func (l *line) mayHave(where uint64) bool {
	for range bloomProbes {
		var n uint64
		if n, where = bit(where); l[n>>3]>>(n&7)&1 == 0 {
			return false
		}
	}
	return true
}

func (l *line) sum(n uint64) uint32 {
	return crc32.Update(uint32(n)+1, filterTable, l[:lineLen-4])
}

func (l *line) isWhole(n uint64) bool {
	return binary.LittleEndian.Uint32(l[lineLen-4:]) == l.sum(n)
}

// baseHead is what the file says of itself.
type baseHead struct {
	set   packSet
	lines uint64
}

func (h baseHead) append(b []byte) []byte {
	b = h.set.append(append(b, filterMagic...))
	b = binary.LittleEndian.AppendUint64(b, h.lines)
	b = append(b, make([]byte, 20)...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, filterTable))
}

func parseBaseHead(b line, size int64) (h baseHead, err error) {
	h = baseHead{parsePackSet(b[8:]), binary.LittleEndian.Uint64(b[32:])}
	if string(b[:8]) != filterMagic || binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], filterTable) ||
		h.lines == 0 || h.lines > maxFilter/lineLen || size != int64(h.lines+1)*lineLen {
		return h, errFilter
	}
	return h, nil
}

// base is an open file. Its methods are safe for concurrent use.
type base struct {
	baseHead
	mu sync.RWMutex // held for writing to close
	f  vfs.File     // nil: closed
	// lacks has parts of ids that were found not to be in the file, which does not
	// change: a chunk that is new is asked for three times, and once more when it enters,
	// with its pack: some two packs later, that is 10,000 chunks.
	lacks [1 << 16]atomic.Uint64
}

// openBase opens a base by its path.
func openBase(fsys vfs.FS, path string) (*base, error) {
	f, err := fsys.Open(path, vfs.RandomReadsOption)
	if err != nil {
		return nil, err
	}
	b := &base{f: f}
	var head line
	if _, err = f.ReadAt(head[:], 0); err == nil {
		var st vfs.FileInfo
		if st, err = f.Stat(); err == nil {
			b.baseHead, err = parseBaseHead(head, st.Size())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errFilter, err), f.Close())
	}
	return b, nil
}

func (b *base) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.f == nil {
		return nil
	}
	err := b.f.Close()
	b.f = nil
	return err
}

var linesRead = sync.Pool{New: func() any { return new(line) }}

// mayHave reports whether id was added; true may be wrong. sure says that it was read
// from a line that is as it was written.
func (b *base) mayHave(id ID) (may, sure bool) {
	head, tag := headOf(id), binary.LittleEndian.Uint64(id[16:])
	lacked := &b.lacks[binary.LittleEndian.Uint64(id[24:])%uint64(len(b.lacks))]
	if tag != 0 && lacked.Load() == tag {
		return false, true
	}
	n, where := lineOf(head, b.lines)
	l := linesRead.Get().(*line)
	defer linesRead.Put(l)
	if !b.read(n, l) {
		return true, false
	}
	if may = l.mayHave(where); !may {
		lacked.Store(tag)
	}
	return may, true
}

// read reads a line, and reports whether it is as it was written.
func (b *base) read(n uint64, l *line) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.f == nil {
		return false
	}
	got, _ := b.f.ReadAt(l[:], int64(n+1)*lineLen)
	return got == lineLen && l.isWhole(n)
}

// prefetch has the file read into the page cache, where that is not there.
func (b *base) prefetch() {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.f != nil {
		_ = b.f.Prefetch(0, int64(b.lines+1)*lineLen) // it is as right without
	}
}

// baseWriter writes a base from front to back, of ids in order.
type baseWriter struct {
	w    *bufio.Writer
	head baseHead
	n    uint64 // the line at hand
	line line
	err  error
}

// newBaseWriter begins a base with its head.
func newBaseWriter(w io.Writer, head baseHead) *baseWriter {
	b := &baseWriter{w: bufio.NewWriterSize(w, filterPiece), head: head}
	_, b.err = b.w.Write(head.append(nil))
	return b
}

// add takes in an id whose line is not before that of the last one.
func (b *baseWriter) add(id idHead) {
	n, where := lineOf(id, b.head.lines)
	for b.n < n {
		b.next()
	}
	b.line.add(where)
}

// next writes the line at hand, and begins an empty one.
func (b *baseWriter) next() {
	binary.LittleEndian.PutUint32(b.line[lineLen-4:], b.line.sum(b.n))
	if b.err == nil {
		_, b.err = b.w.Write(b.line[:])
	}
	b.n, b.line = b.n+1, line{}
}

// end writes the lines that are left.
func (b *baseWriter) end() error {
	for b.n < b.head.lines {
		b.next()
	}
	if b.err == nil {
		b.err = b.w.Flush()
	}
	return b.err
}

// fold writes what b has and the ids, which are in order, as another base of as many lines.
func (b *base) fold(w io.Writer, set packSet, ids []idHead, stopped func() bool) error {
	to := newBaseWriter(w, baseHead{set, b.lines})
	from := bufio.NewReaderSize(io.NewSectionReader(b.f, lineLen, int64(b.lines)*lineLen), filterPiece)
	for n := range b.lines {
		if n%4096 == 0 && stopped() {
			return errStopped
		}
		if _, err := io.ReadFull(from, to.line[:]); err != nil {
			return fmt.Errorf("%w: %w", errFilter, err)
		}
		if !to.line.isWhole(n) {
			for i := range to.line {
				to.line[i] = 0xff // it may have had any
			}
		}
		for len(ids) > 0 {
			at, where := lineOf(ids[0], b.lines)
			if at > n {
				break
			}
			to.line.add(where)
			ids = ids[1:]
		}
		if to.next(); to.err != nil {
			return to.err
		}
	}
	return to.end()
}
