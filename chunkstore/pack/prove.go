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
	Scanned bool    // the footer is lost: records whose stored bytes are damaged are not in Entries
	Faults  []Fault
}

// ProveOptions say how a pack is proved. The zero value proves it in the
// caller's goroutine.
type ProveOptions struct {
	// Workers is how many goroutines prove records side by side; with two or
	// more the next step of the pack is read meanwhile.
	Workers int
	// Begin, if not nil, sees the footer's entries before the first record.
	Begin func([]Entry)
	// Check, if not nil, says what else is wrong with records: it sets errs[i] of those
	// whose stored bytes are whole, which have none. It is called by Workers goroutines
	// at once; the slices are valid during the call.
	Check func(entries []Entry, records [][]byte, errs []error)
}

// Prove reads a finished pack of size bytes once, front to back, and proves the
// stored bytes of every record and of everything around them: header, footer,
// both trailers and tables of sums, the parity, and what lies between records.
// It calls fn for each record in order, in one goroutine, with its bytes, valid
// during the call, or with a *Damage. Only fn's errors and ctx's end it. It holds
// 4 MiB, twice as much where it reads ahead, the entries and one table of sums.
func Prove(ctx context.Context, r io.ReaderAt, size int64, opts ProveOptions, fn func(e Entry, rec []byte, err error) error) (Proof, error) {
	p := &prover{ctx: ctx, r: r, size: size, opts: opts, fn: fn}
	defer p.release()
	if err := p.run(); err != nil {
		return Proof{}, err
	}
	return p.Proof, ctx.Err()
}

type prover struct {
	Proof
	ctx  context.Context
	r    io.ReaderAt
	size int64
	opts ProveOptions
	fn   func(Entry, []byte, error) error
	t    trailer
	gaps []gap
	bufs [2]*window // one is read into while the other is proved
}

// gap is a run of bytes that belongs to no record: unsynced bytes of a crash, a
// root that was struck out.
type gap struct{ from, to int64 }

func (p *prover) fault(part string, off, n int64, err error) {
	p.Faults = append(p.Faults, Fault{Part: part, Offset: off, Length: n, Unreadable: isReadError(err), Err: err})
}

func (p *prover) run() error {
	t, err := findTrailer(p.r, p.size)
	if err == nil {
		var footer []byte
		if footer, err = readFooter(p.r, p.size, &t); err == nil {
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
	if p.size != t.size() {
		p.fault("length", 0, p.size, fmt.Errorf("the pack has %d bytes, want %d", p.size, t.size()))
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
	if p.opts.Begin != nil {
		p.opts.Begin(entries)
	}
	return nil
}

// scan is what is left where the footer is lost: each record by itself.
func (p *prover) scan(cause error) error {
	p.Scanned = true
	p.fault("footer", 0, p.size, cause)
	p.proveHeader()
	p.t.pack = p.Header.Pack
	_, _, err := Scan(p.r, p.size, func(e Entry, rec []byte) error {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		p.Entries = append(p.Entries, e)
		if err := p.scanned(e, rec); err != nil {
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
		p.fault("records", 0, p.size, &readError{err})
	}
	return nil
}

// scanned tells of a record that a scan found: its stored bytes are whole.
func (p *prover) scanned(e Entry, rec []byte) error {
	if p.opts.Check != nil {
		var err [1]error
		if p.opts.Check([]Entry{e}, [][]byte{rec}, err[:]); err[0] != nil {
			return p.fn(e, nil, p.damage(e, err[0]))
		}
	}
	return p.fn(e, rec, nil)
}

// stopError is an error of the caller's function on its way through Scan.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func (p *prover) proveHeader() {
	b, err := p.bytes(0, HeaderLen)
	var h Header
	if err == nil {
		h, err = ParseHeader(b)
	}
	if err == nil {
		p.Header = h
		return
	}
	p.fault("header", 0, HeaderLen, err)
	if par, perr := OpenParity(p.r, p.size); perr == nil {
		if b, _, perr = par.ReadRange(0, HeaderLen); perr == nil {
			p.Header, _ = ParseHeader(b) // zero where that is wrong too
		}
	}
}

func (p *prover) proveRecords() error {
	pos := int64(HeaderLen)
	for _, e := range p.Entries {
		if off := int64(e.Offset); off > pos {
			p.gaps = append(p.gaps, gap{pos, off})
		}
		pos = max(pos, int64(e.Offset)+int64(e.RecordLen()))
	}
	if pos < p.t.footerOff {
		p.gaps = append(p.gaps, gap{pos, p.t.footerOff})
	}
	return p.prove(pieces{
		len: len(p.Entries),
		at: func(i int) piece {
			e := &p.Entries[i]
			return piece{int64(e.Offset), e.RecordLen()}
		},
		group: p.groupOf,
		check: p.checkRecords,
		done: func(i int, b []byte, err error) error {
			e := p.Entries[i]
			if err != nil {
				return p.fn(e, nil, p.damage(e, err))
			}
			return p.fn(e, b, nil)
		},
	})
}

// damage makes the *Damage of a record that could not be read or proved.
func (p *prover) damage(e Entry, err error) error {
	d := &Damage{Kind: Corrupt, ID: e.ID, Pack: p.t.pack, Offset: int64(e.Offset), Length: e.RecordLen(), Err: err}
	switch {
	case isReadError(err):
		d.Kind = Unreadable
	case errors.Is(err, errCutOff):
		d.Kind, d.Err = Missing, fmt.Errorf("the pack ends at byte %d", p.size)
	}
	return d
}

func (p *prover) proveFooter() {
	n := p.t.entries * EntryLen
	b, err := p.bytes(p.t.footerOff, n)
	if err == nil && Sum(b) != p.t.footerSum {
		err = errors.New("its sum does not fit")
	}
	if err != nil {
		p.fault("footer", p.t.footerOff, n, err)
	}
}

func (p *prover) proveTrailer(off int64) {
	b, err := p.bytes(off, TrailerLen)
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
	of := sums{kind: p.t.parity}
	for _, second := range []bool{false, true} {
		off, n := sh.sumsOff(second), int(sh.sumsLen()-sumLen)
		b, err := p.bytes(off, sh.sumsLen())
		if err == nil {
			if s := Sum(b[:n]); !bytes.Equal(s[:], b[n:]) {
				err = errors.New("their own sum does not fit")
			}
		}
		if err == nil && of.table == nil {
			of.table = b[:n]
		}
		if err == nil && !bytes.Equal(of.table, b[:n]) {
			err = errors.New("the two tables differ")
		}
		if err != nil {
			p.fault("sums", off, sh.sumsLen(), err)
		}
	}
	p.proveTrailer(sh.parityOff() - TrailerLen)
	p.proveTrailer(p.t.size() - TrailerLen)
	if of.table == nil {
		return p.ctx.Err()
	}
	for _, g := range p.gaps {
		if err := p.proveBlocks(sh, &of, "gap", int(g.from/sh.block), int((g.to-1)/sh.block)+1); err != nil {
			return err
		}
	}
	return p.proveBlocks(sh, &of, "parity", sh.blocks, sh.total())
}

func (p *prover) proveBlocks(sh shape, of *sums, part string, from, to int) error {
	return p.prove(pieces{
		len: to - from,
		at: func(i int) piece {
			off, n := sh.place(from + i)
			return piece{off, n}
		},
		group: func(i, _ int) int { return i + 1 },
		check: func(i int, blocks [][]byte, errs []error) {
			if !of.fits(from+i, blocks[0]) {
				errs[0] = fmt.Errorf("block %d does not fit its sum", from+i)
			}
		},
		done: func(i int, b []byte, err error) error {
			if err != nil {
				off, _ := sh.place(from + i)
				p.fault(part, off, int64(len(b)), err)
			}
			return nil
		},
	})
}
