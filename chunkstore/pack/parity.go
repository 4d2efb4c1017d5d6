package pack

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/reedsolomon"
)

// sums are the checksums of all blocks of a pack.
type sums []byte

func (s sums) of(block int) []byte { return s[block*blockSumLen:][:blockSumLen] }

func (s sums) fits(block int, b []byte) bool {
	have := Sum(b)
	return bytes.Equal(have[:blockSumLen], s.of(block))
}

// makeParity reads the covered bytes back, a stripe at a time, and returns the
// sums of all blocks, with their own sum, and the parity blocks. It holds one
// stripe (2 MiB) and the parity (4 MiB for a full pack).
func makeParity(r io.ReaderAt, sh shape) (table, parity []byte, err error) {
	code, err := newCode(sh)
	if err != nil {
		return nil, nil, err
	}
	table = make([]byte, sh.total()*blockSumLen)
	parity = make([]byte, sh.parityLen())
	buf := make([]byte, int64(sh.shards)*sh.block)
	shards := make([][]byte, sh.shards+parityShards)
	note := func(block int, b []byte) {
		s := Sum(b)
		copy(sums(table).of(block), s[:])
	}
	for stripe := range sh.stripes {
		clear(buf)
		for k := range shards {
			i, ok := sh.shard(stripe, k)
			if k >= sh.shards {
				off := int64(i-sh.blocks) * sh.block
				shards[k] = parity[off : off+sh.block]
				continue
			}
			shards[k] = buf[int64(k)*sh.block:][:sh.block]
			if !ok {
				continue
			}
			off, n := sh.place(i)
			if err := readFull(r, shards[k][:n], off, sh.covered); err != nil {
				return nil, nil, fmt.Errorf("read back at %d: %w", off, err)
			}
			note(i, shards[k][:n])
		}
		if err := code.Encode(shards); err != nil {
			return nil, nil, fmt.Errorf("make parity: %w", err)
		}
		for k := range parityShards {
			i, _ := sh.shard(stripe, sh.shards+k)
			note(i, shards[sh.shards+k])
		}
	}
	own := Sum(table)
	return append(table, own[:]...), parity, nil
}

func newCode(sh shape) (reedsolomon.Encoder, error) {
	code, err := reedsolomon.New(sh.shards, parityShards, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, fmt.Errorf("make parity: %w", err)
	}
	return code, nil
}

// tail makes everything behind the records of a pack: footer, sums, trailer,
// parity, sums, trailer. r reads back the header and the records, which end at
// end.
func tail(r io.ReaderAt, pack uint64, end int64, entries []Entry, kind parityKind) ([]byte, error) {
	footer := appendEntries(nil, entries)
	t := trailer{pack: pack, footerOff: end, entries: int64(len(entries)), parity: kind, footerSum: Sum(footer)}
	if kind == parityNone {
		return t.append(footer), nil
	}
	sh := shapeOf(t.covered())
	t.stripes = sh.stripes
	table, parity, err := makeParity(&followed{r, end, footer}, sh)
	if err != nil {
		return nil, fmt.Errorf("pack %016x: %w", pack, err)
	}
	b := append(footer, table...)
	b = t.append(b)
	b = append(b, parity...)
	b = append(b, table...)
	return t.append(b), nil
}

// followed reads r up to end, and b behind it.
type followed struct {
	r   io.ReaderAt
	end int64
	b   []byte
}

func (f *followed) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < f.end {
		n = int(min(int64(len(p)), f.end-off))
		if err := readFull(f.r, p[:n], off, f.end); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		n += copy(p[n:], f.b[off+int64(n)-f.end:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
