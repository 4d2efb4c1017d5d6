package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Fault is something wrong with a pack beside its records: a pack whose records
// are all whole can have faults, and then heals less than it could.
type Fault struct {
	Part       string // header, footer, trailer, sums, parity, gap or length
	Offset     int64
	Length     int64
	Unreadable bool // an I/O error: not proof of damage
	Err        error
}

func (f Fault) Error() string {
	return fmt.Sprintf("%s (%d bytes at %d): %v", f.Part, f.Length, f.Offset, f.Err)
}

// Proof is what Prove tells of a pack.
type Proof struct {
	Header  Header  // healed by the parity where need be; zero when it is lost
	Entries []Entry // of the footer, or else of the records that a scan found
	Scanned bool    // the footer is lost: records that are damaged are not in Entries
	Faults  []Fault
}

// proveWindow is how much Prove reads at once.
const proveWindow = 2 << 20

// Prove reads a finished pack of size bytes once, front to back, and proves the
// stored bytes of every record and of everything around them: header, footer,
// both trailers and tables of sums, the parity, and what lies between records.
// It calls fn for each record in order, with its bytes, valid during the call,
// or with a *Damage. Only fn's errors and ctx's end it. It holds 2 MiB, the
// entries and one table of sums.
func Prove(ctx context.Context, r io.ReaderAt, size int64, fn func(e Entry, rec []byte, err error) error) (Proof, error) {
	p := &prover{ctx: ctx, w: window{r: r, size: size, buf: make([]byte, 0, proveWindow)}, fn: fn}
	if err := p.run(); err != nil {
		return Proof{}, err
	}
	return p.Proof, ctx.Err()
}

type prover struct {
	Proof
	ctx  context.Context
	w    window
	fn   func(Entry, []byte, error) error
	t    trailer
	gaps []gap
}

// gap is a run of bytes that belongs to no record: unsynced bytes of a crash, a
// root that was struck out.
type gap struct{ from, to int64 }

func (p *prover) fault(part string, off, n int64, err error) {
	p.Faults = append(p.Faults, Fault{Part: part, Offset: off, Length: n, Unreadable: isReadError(err), Err: err})
}

// isReadError tells an I/O error from bytes that are wrong or not there.
func isReadError(err error) bool {
	var re *readError
	return errors.As(err, &re)
}

func (p *prover) run() error {
	t, err := findTrailer(p.w.r, p.w.size)
	if err == nil {
		var footer []byte
		if footer, err = readFooter(p.w.r, p.w.size, &t); err == nil {
			err = p.parseFooter(&t, footer)
		}
	}
	if perr := p.ctx.Err(); perr != nil {
		return perr
	}
	if err != nil {
		return p.scan(err)
	}
	p.t = t
	p.proveHeader()
	if err := p.proveRecords(); err != nil {
		return err
	}
	if p.w.size != t.size() {
		p.fault("length", 0, p.w.size, fmt.Errorf("the pack has %d bytes, want %d", p.w.size, t.size()))
	}
	p.proveFooter()
	if t.parity == parityNone {
		p.proveTrailer(t.covered())
		return nil
	}
	return p.proveParity()
}

func (p *prover) parseFooter(t *trailer, footer []byte) error {
	entries := make([]Entry, t.entries)
	for i := range entries {
		var err error
		if entries[i], err = parseEntry(footer[i*EntryLen:], t.footerOff); err != nil {
			return fmt.Errorf("footer entry %d: %w", i, err)
		}
	}
	p.Entries = entries
	return nil
}

// scan is what is left where the footer is lost: each record by itself.
func (p *prover) scan(cause error) error {
	p.Scanned = true
	p.fault("footer", 0, p.w.size, cause)
	p.proveHeader()
	_, _, err := Scan(p.w.r, p.w.size, func(e Entry, rec []byte) error {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		p.Entries = append(p.Entries, e)
		if err := p.fn(e, rec, nil); err != nil {
			return &stopError{err}
		}
		return nil
	})
	var stop *stopError
	switch {
	case errors.As(err, &stop):
		return stop.err
	case p.ctx.Err() != nil:
		return p.ctx.Err()
	case err != nil:
		p.fault("records", 0, p.w.size, &readError{err})
	}
	return nil
}

// stopError is an error of the caller's function on its way through Scan.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func (p *prover) proveHeader() {
	b, err := p.w.bytes(0, HeaderLen)
	var h Header
	if err == nil {
		h, err = ParseHeader(b)
	}
	if err == nil {
		p.Header = h
		return
	}
	p.fault("header", 0, HeaderLen, err)
	if par, perr := OpenParity(p.w.r, p.w.size); perr == nil {
		if b, _, perr = par.ReadRange(0, HeaderLen); perr == nil {
			p.Header, _ = ParseHeader(b) // zero where that is wrong too
		}
	}
}

func (p *prover) proveRecords() error {
	pos := int64(HeaderLen)
	for _, e := range p.Entries {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if off := int64(e.Offset); off > pos {
			p.gaps = append(p.gaps, gap{pos, off})
		}
		pos = max(pos, int64(e.Offset)+int64(e.RecordLen()))
		rec, err := p.record(e)
		if cerr := p.ctx.Err(); cerr != nil {
			return cerr
		}
		if err := p.fn(e, rec, err); err != nil {
			return err
		}
	}
	if pos < p.t.footerOff {
		p.gaps = append(p.gaps, gap{pos, p.t.footerOff})
	}
	return nil
}

// record reads and proves one record.
func (p *prover) record(e Entry) ([]byte, error) {
	d := &Damage{Kind: Corrupt, ID: e.ID, Pack: p.t.pack, Offset: int64(e.Offset), Length: e.RecordLen()}
	b, err := p.w.bytes(int64(e.Offset), e.RecordLen())
	if err != nil {
		d.Kind, d.Err = Missing, fmt.Errorf("the pack ends at byte %d", p.w.size)
		if isReadError(err) {
			d.Kind, d.Err = Unreadable, err
		}
		return nil, d
	}
	rec, err := CheckStored(b)
	switch {
	case err != nil:
		d.Err = err
	case rec.ID != e.ID:
		d.Err = fmt.Errorf("record is of chunk %v", rec.ID)
	case len(rec.Bytes) != e.RecordLen() || rec.PlainLen != int(e.PlainLen) || rec.Kind != e.Kind:
		d.Err = errors.New("record is not the one that the footer tells of")
	default:
		return rec.Bytes, nil
	}
	return nil, d
}

func (p *prover) proveFooter() {
	n := p.t.entries * EntryLen
	b := make([]byte, n)
	err := p.w.into(b, p.t.footerOff)
	if err == nil && Sum(b) != p.t.footerSum {
		err = errors.New("its sum does not fit")
	}
	if err != nil {
		p.fault("footer", p.t.footerOff, n, err)
	}
}

func (p *prover) proveTrailer(off int64) {
	b, err := p.w.bytes(off, TrailerLen)
	if err == nil && !bytes.Equal(b, p.t.append(nil)) {
		err = errors.New("it is not as it was written")
	}
	if err != nil {
		p.fault("trailer", off, TrailerLen, err)
	}
}

// proveParity proves what follows the footer: sums, trailer, parity, sums,
// trailer; and by the sums what lies between records.
func (p *prover) proveParity() error {
	sh := shapeOf(p.t.covered())
	var table sums
	for _, second := range []bool{false, true} {
		b := make([]byte, sh.sumsLen())
		off, n := sh.sumsOff(second), len(b)-sumLen
		err := p.w.into(b, off)
		if err == nil {
			if s := Sum(b[:n]); !bytes.Equal(s[:], b[n:]) {
				err = errors.New("their own sum does not fit")
			}
		}
		if err == nil && table == nil {
			table = b[:n]
		}
		if err == nil && !bytes.Equal(table, b[:n]) {
			err = errors.New("the two tables differ")
		}
		if err != nil {
			p.fault("sums", off, int64(len(b)), err)
		}
	}
	p.proveTrailer(sh.parityOff() - TrailerLen)
	p.proveTrailer(p.t.size() - TrailerLen)
	if table == nil {
		return p.ctx.Err()
	}
	for _, g := range p.gaps {
		if err := p.proveBlocks(sh, table, "gap", int(g.from/sh.block), int((g.to-1)/sh.block)+1); err != nil {
			return err
		}
	}
	return p.proveBlocks(sh, table, "parity", sh.blocks, sh.total())
}

func (p *prover) proveBlocks(sh shape, table sums, part string, from, to int) error {
	for i := from; i < to; i++ {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		off, n := sh.place(i)
		b, err := p.w.bytes(off, n)
		if err == nil && !table.fits(i, b) {
			err = fmt.Errorf("block %d does not fit its sum", i)
		}
		if err != nil {
			p.fault(part, off, int64(n), err)
		}
	}
	return nil
}

// window reads a file front to back in large steps, and any other way in small
// ones.
type window struct {
	r    io.ReaderAt
	size int64
	off  int64 // of buf
	buf  []byte
}

// readError is an I/O error, which proves nothing of the bytes.
type readError struct{ err error }

func (e *readError) Error() string { return "read pack: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// bytes returns n bytes from off, valid until the next call; n is at most
// proveWindow. Where the large step fails, the bytes are read alone.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off < 0 || off+int64(n) > w.size {
		return nil, io.ErrUnexpectedEOF
	}
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	w.off = off
	w.buf = w.buf[:min(int64(cap(w.buf)), w.size-off)]
	err := readFull(w.r, w.buf, off, w.size)
	if err != nil {
		w.buf = w.buf[:n]
		err = readFull(w.r, w.buf, off, w.size)
	}
	if err == nil {
		return w.buf[:n], nil
	}
	w.buf = w.buf[:0]
	if errors.Is(err, io.ErrUnexpectedEOF) { // it was cut off meanwhile
		return nil, err
	}
	return nil, &readError{err}
}

// into fills b from off.
func (w *window) into(b []byte, off int64) error {
	for len(b) > 0 {
		n := min(len(b), proveWindow)
		got, err := w.bytes(off, n)
		if err != nil {
			return err
		}
		copy(b, got)
		b, off = b[n:], off+int64(n)
	}
	return nil
}
