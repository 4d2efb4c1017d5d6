package pack

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// release gives the windows back. Nothing reads into them any more.
func (p *prover) release() {
	for i, w := range p.bufs {
		if w != nil {
			windows.Put(w)
			p.bufs[i] = nil
		}
	}
}

// piece is a run of a pack's bytes that is proved by itself; it has at most
// proveWindow bytes.
type piece struct {
	off int64
	n   int
}

// pieces is a list of them, in the order in which they are read.
type pieces struct {
	len   int
	at    func(i int) piece
	group func(from, to int) int                   // the end of those, before to, that are checked together with from
	check func(from int, b [][]byte, errs []error) // neighbours, whose errs are nil; called by several goroutines at once
	done  func(i int, b []byte, err error) error   // in order; b is valid during the call
}

// batch is a run of pieces that lie within one window.
type batch struct {
	from, to int
	off, end int64
	w        *window
	err      error
}

// cut returns the batch that begins with a piece.
func (l *pieces) cut(from int) batch {
	first := l.at(from)
	b := batch{from: from, to: from + 1, off: first.off, end: first.off + int64(first.n)}
	for ; b.to < l.len; b.to++ {
		q := l.at(b.to)
		end := q.off + int64(q.n)
		if q.off < b.off || end > b.off+proveWindow {
			break
		}
		b.end = max(b.end, end)
	}
	return b
}

// prove reads the pieces in large steps, the next one while the last is proved
// where there are workers for it, and proves those of a step side by side.
func (p *prover) prove(l pieces) error {
	if l.len == 0 {
		return p.ctx.Err()
	}
	load := func(from, buf int) batch {
		b := l.cut(from)
		if p.bufs[buf] == nil {
			p.bufs[buf] = windows.Get().(*window)
		}
		b.w = p.bufs[buf]
		b.err = b.w.load(p.r, b.off, b.end, p.size)
		return b
	}
	ahead := make(chan batch, 1)
	for b, k := load(0, 0), 1; ; k++ {
		more := b.to < l.len
		if more && p.workers() > 1 {
			go func() { ahead <- load(b.to, k%2) }()
		}
		err := p.proveBatch(&l, &b)
		if !more {
			return err
		}
		if p.workers() > 1 {
			b = <-ahead // also when it is not wanted any more: it uses the pack
		} else if err == nil {
			b = load(b.to, 0)
		}
		if err != nil {
			return err
		}
	}
}

func (p *prover) workers() int { return max(1, p.opts.Workers) }

// proveBatch proves what was read. Where the large step failed, each piece is
// read alone.
func (p *prover) proveBatch(l *pieces, b *batch) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	n := b.to - b.from
	errs, parts, ends := make([]error, n), make([][]byte, n), []int{0}
	for i := range parts {
		q := l.at(b.from + i)
		parts[i] = b.w.bytes(q.off, q.n)
	}
	for end := 0; end < n; ends = append(ends, end) {
		end = l.group(b.from+end, b.to) - b.from
	}
	if b.err == nil {
		sideBySide(p.workers(), len(ends)-1, func(k int) {
			from, to := ends[k], ends[k+1]
			l.check(b.from+from, parts[from:to], errs[from:to])
		})
	}
	for i := range errs {
		if b.err != nil {
			errs[i] = p.alone(l, b.from+i, b.w)
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := l.done(b.from+i, parts[i], errs[i]); err != nil {
			return err
		}
	}
	return nil
}

// alone reads and proves one piece. Neighbours in its pages are read anew with it,
// each before it is proved itself.
func (p *prover) alone(l *pieces, i int, w *window) error {
	q := l.at(i)
	if err := p.judge(w.reload(p.r, q.off, q.off+int64(q.n), p.size)); err != nil {
		return err
	}
	var err [1]error
	l.check(i, [][]byte{w.bytes(q.off, q.n)}, err[:])
	return err[0]
}

// sideBySide calls f for 0 to n-1, in so many goroutines of which one is the
// caller's.
func sideBySide(workers, n int, f func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var wg sync.WaitGroup
	for range min(workers, n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// readError is an I/O error, which proves nothing of the bytes.
type readError struct{ err error }

func (e *readError) Error() string { return "read pack: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// isReadError tells an I/O error from bytes that are wrong or not there.
func isReadError(err error) bool {
	var re *readError
	return errors.As(err, &re)
}

// errCutOff says that the file ends before something. A decoder may well return
// io.ErrUnexpectedEOF for bytes that are wrong.
var errCutOff = errors.New("the pack ends before it")

// read fills b from off. An error is errCutOff or a *readError.
func (p *prover) read(b []byte, off int64) error { return p.judge(readFull(p.r, b, off, p.size)) }

// judge makes an error of reading errCutOff or a *readError.
func (p *prover) judge(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	default:
		return &readError{err}
	}
}

// bytes is read into a new buffer.
func (p *prover) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off+n > p.size {
		return nil, errCutOff
	}
	b := make([]byte, n)
	return b, p.read(b, off)
}
