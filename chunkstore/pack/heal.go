package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrNoParity says that a pack has no parity, or none that can be used.
var ErrNoParity = errors.New("pack has no usable parity")

// ErrBeyondParity says that more of a stripe is lost than parity brings back.
var ErrBeyondParity = errors.New("more is lost than the pack's parity brings back")

// Parity heals ranges of one pack from its parity. It is for one caller at a
// time and holds one stripe (about 2 MiB).
type Parity struct {
	r    io.ReaderAt
	size int64 // of the file as it is now
	sh   shape
	sums sums
	t    trailer
}

// OpenParity finds the parity of a pack whose file has size bytes, also when
// the file is cut off or one of the trailers or tables is lost.
func OpenParity(r io.ReaderAt, size int64) (*Parity, error) {
	t, err := findTrailer(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoParity, err)
	}
	if t.parity == parityNone {
		return nil, ErrNoParity
	}
	p := &Parity{r: r, size: size, sh: shapeOf(t.covered()), t: t}
	table := make([]byte, p.sh.sumsLen())
	for _, second := range []bool{false, true} {
		if readFull(r, table, p.sh.sumsOff(second), size) != nil {
			continue
		}
		n := len(table) - sumLen
		if s := Sum(table[:n]); bytes.Equal(s[:], table[n:]) {
			p.sums = sums{table[:n], t.parity}
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: both tables of sums are lost", ErrNoParity)
}

// ReadRange returns n bytes of the covered part of the pack from off, as they
// were written: blocks whose sum does not fit, or that can't be read, are made
// anew. healed counts them. The caller proves what it gets.
func (p *Parity) ReadRange(off int64, n int) (b []byte, healed int, err error) {
	if off < 0 || n < 0 || off+int64(n) > p.sh.covered {
		return nil, 0, fmt.Errorf("heal %d bytes from %d of %d: out of bounds", n, off, p.sh.covered)
	}
	b = make([]byte, 0, n)
	for len(b) < n {
		at := off + int64(len(b))
		i := int(at / p.sh.block)
		block, bad, err := p.block(i)
		if err != nil {
			return nil, healed, err
		}
		if bad {
			healed++
		}
		from := int(at - int64(i)*p.sh.block)
		b = append(b, block[from:min(len(block), from+n-len(b))]...)
	}
	return b, healed, nil
}

// block returns data block i, made anew when it is bad.
func (p *Parity) block(i int) (b []byte, bad bool, err error) {
	if b, ok := p.good(i); ok {
		return b, false, nil
	}
	stripe := p.sh.stripeOf(i)
	shards := make([][]byte, p.sh.shards+parityShards)
	var own int
	for k := range shards {
		j, ok := p.sh.shard(stripe, k)
		if !ok {
			shards[k] = make([]byte, p.sh.block)
			continue
		}
		if j == i {
			own = k
			continue
		}
		if b, ok := p.good(j); ok {
			shards[k] = append(b, make([]byte, p.sh.block-int64(len(b)))...)
		}
	}
	code, err := newCode(p.sh)
	if err != nil {
		return nil, true, err
	}
	if err := code.ReconstructData(shards); err != nil {
		return nil, true, fmt.Errorf("%w (stripe %d): %w", ErrBeyondParity, stripe, err)
	}
	_, n := p.sh.place(i)
	b = shards[own][:n]
	if !p.sums.fits(i, b) {
		return nil, true, fmt.Errorf("%w (stripe %d): the block made anew does not fit its sum", ErrBeyondParity, stripe)
	}
	return b, true, nil
}

// good reads block i and reports whether it is as it was written.
func (p *Parity) good(i int) ([]byte, bool) {
	off, n := p.sh.place(i)
	b := make([]byte, n, p.sh.block)
	if readFull(p.r, b, off, p.size) != nil {
		return nil, false
	}
	return b, p.sums.fits(i, b)
}
