package pack

import (
	"fmt"
	"io"
	"sync"
)

// Dest is where a Writer puts a pack: written front to back, read back at any
// offset already written.
type Dest interface {
	io.Writer
	io.ReaderAt
}

const writeBuffer = 512 << 10

// Writer appends records to one pack. Append and Seal are for one caller at a
// time; ReadRecord may run beside them.
type Writer struct {
	dst     Dest
	header  Header
	parity  parityKind
	entries []Entry

	mu       sync.RWMutex // guards buf and flushed
	buf      []byte       // what is not written yet
	flushed  int64        // bytes written to dst
	fileSize int64        // of the sealed pack
	err      error        // sticky: after a failed write nothing more is taken
}

// WriterOptions say how a pack is written. The zero value is the default.
type WriterOptions struct {
	NoParity bool // saves 7 % of space; damage then heals from elsewhere only
	Format   int  // of the store, which says how blocks are summed; 0: the newest
}

// NewWriter begins a pack, which gets parity when it is sealed unless opts say
// otherwise.
func NewWriter(dst Dest, h Header, opts WriterOptions) *Writer {
	w := &Writer{dst: dst, header: h, parity: opts.kind(), buf: make([]byte, 0, writeBuffer+MaxRecord)}
	w.buf = h.Append(w.buf)
	return w
}

// Header returns what NewWriter was given.
func (w *Writer) Header() Header { return w.header }

// Entries returns the records appended so far. The slice is the Writer's.
func (w *Writer) Entries() []Entry { return w.entries }

// Size is the length of header and records so far.
func (w *Writer) Size() int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.flushed + int64(len(w.buf))
}

// FileSize is the length of the whole pack after Seal.
func (w *Writer) FileSize() int64 { return w.fileSize }

// Append adds a record, which must have come from Codec.Encode or CheckStored,
// and copies its bytes.
func (w *Writer) Append(rec Record) (Entry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return Entry{}, w.err
	}
	off := w.flushed + int64(len(w.buf))
	if off+int64(len(rec.Bytes)) > MaxPack-int64(len(w.entries)+1)*EntryLen {
		return Entry{}, fmt.Errorf("append record: pack %016x is full", w.header.Pack)
	}
	e := entryOf(rec, off)
	w.buf = append(w.buf, rec.Bytes...)
	w.entries = append(w.entries, e)
	if len(w.buf) >= writeBuffer {
		return e, w.flush()
	}
	return e, nil
}

// flush writes the buffer. The caller holds mu.
func (w *Writer) flush() error {
	n := len(w.buf)
	if err := writeAll(w.dst, w.buf); err != nil {
		w.err = fmt.Errorf("write pack %016x at %d: %w", w.header.Pack, w.flushed, err)
		return w.err
	}
	w.flushed += int64(n)
	w.buf = w.buf[:0]
	return nil
}

// Seal writes everything that is buffered, the footer and the trailer. It does
// not make the pack durable; that is the destination's work.
func (w *Writer) Seal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.flush(); err != nil {
		return err
	}
	// It is written in one go; readers of records never look behind them.
	b, err := tail(w.dst, w.header.Pack, w.flushed, w.entries, w.parity)
	if err == nil {
		err = writeAll(w.dst, b)
		w.fileSize = w.flushed + int64(len(b))
	}
	if err != nil {
		w.err = fmt.Errorf("write footer of pack %016x: %w", w.header.Pack, err)
		return w.err
	}
	return nil
}

func writeAll(w io.Writer, b []byte) error {
	if n, err := w.Write(b); err != nil {
		return err
	} else if n != len(b) {
		return io.ErrShortWrite
	}
	return nil
}

// Tail makes what follows the records of a pack whose writer died: entries are
// those that Scan found, in order, end is where the tail is to be written, and
// r reads what lies before it, for several goroutines at once. The parity covers whatever
// lies between records.
func Tail(r io.ReaderAt, h Header, end int64, entries []Entry, opts WriterOptions) ([]byte, error) {
	return tail(r, h.Pack, end, entries, opts.kind())
}

func (o WriterOptions) kind() parityKind {
	switch {
	case o.NoParity:
		return parityNone
	case o.Format == 0:
		return parityXXH3
	}
	return kindFor(o.Format)
}

// ReadRecord reads a record that was appended, from the buffer or back from
// the destination. It uses buf's capacity when that suffices.
func (w *Writer) ReadRecord(e Entry, buf []byte) ([]byte, error) {
	n := e.RecordLen()
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	w.mu.RLock()
	if off := int64(e.Offset) - w.flushed; off >= 0 && off+int64(n) <= int64(len(w.buf)) {
		copy(buf, w.buf[off:])
		w.mu.RUnlock()
		return buf, nil
	}
	w.mu.RUnlock()
	if _, err := w.dst.ReadAt(buf, int64(e.Offset)); err != nil {
		return nil, fmt.Errorf("read back pack %016x at %d: %w", w.header.Pack, e.Offset, err)
	}
	return buf, nil
}
