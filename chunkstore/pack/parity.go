package pack

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/reedsolomon"
	"golang.org/x/sync/errgroup"
)

// sums are the checksums of all blocks of a pack.
type sums struct {
	table []byte
	kind  parityKind // how they are made
}

func (s *sums) of(block int) []byte { return s.table[block*blockSumLen:][:blockSumLen] }

func (s *sums) fits(block int, b []byte) bool {
	have := s.kind.sum(b)
	return bytes.Equal(have[:], s.of(block))
}

// parityMakers is how many goroutines make a pack's parity: the end of a capture waits
// for its last pack's alone.
const parityMakers = 2

// makeParity reads the covered bytes back, a stripe at a time, and returns the
// sums of all blocks, with their own sum, and the parity blocks. Each of
// parityMakers holds one stripe (2 MiB), beside the parity (4 MiB for a full
// pack). r is read by all of them at once.
func makeParity(r io.ReaderAt, sh shape, kind parityKind) (table, parity []byte, err error) {
	table = make([]byte, sh.total()*blockSumLen)
	parity = make([]byte, sh.parityLen())
	var next atomic.Int64
	var makers errgroup.Group
	for range min(parityMakers, sh.stripes) {
		makers.Go(func() error {
			code, err := newCode(sh)
			if err != nil {
				return err
			}
			m := stripeMaker{sh, code, sums{table, kind}, parity, make([]byte, int64(sh.shards)*sh.block), make([][]byte, sh.shards+parityShards)}
			for err == nil {
				stripe := int(next.Add(1)) - 1
				if stripe >= sh.stripes {
					break
				}
				err = m.make(r, stripe)
			}
			return err
		})
	}
	if err := makers.Wait(); err != nil {
		return nil, nil, err
	}
	own := Sum(table)
	return append(table, own[:]...), parity, nil
}

// stripeMaker makes stripes, one after the other. Those of others share its sums' table and its parity.
type stripeMaker struct {
	sh     shape
	code   reedsolomon.Encoder
	sums   sums
	parity []byte
	buf    []byte   // the stripe's data
	shards [][]byte // parts of buf and of parity
}

// make reads a stripe's data, and makes its parity and the sums of its blocks.
func (m *stripeMaker) make(r io.ReaderAt, stripe int) error {
	clear(m.buf)
	for k := range m.shards {
		i, ok := m.sh.shard(stripe, k)
		if k >= m.sh.shards {
			off := int64(i-m.sh.blocks) * m.sh.block
			m.shards[k] = m.parity[off : off+m.sh.block]
			continue
		}
		m.shards[k] = m.buf[int64(k)*m.sh.block:][:m.sh.block]
		if !ok {
			continue
		}
		off, n := m.sh.place(i)
		if err := readFull(r, m.shards[k][:n], off, m.sh.covered); err != nil {
			return fmt.Errorf("read back at %d: %w", off, err)
		}
		m.note(i, m.shards[k][:n])
	}
	if err := m.code.Encode(m.shards); err != nil {
		return fmt.Errorf("make parity: %w", err)
	}
	for k := range parityShards {
		i, _ := m.sh.shard(stripe, m.sh.shards+k)
		m.note(i, m.shards[m.sh.shards+k])
	}
	return nil
}

// note keeps the sum of a block.
func (m *stripeMaker) note(block int, b []byte) {
	s := m.sums.kind.sum(b)
	copy(m.sums.of(block), s[:])
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
	table, parity, err := makeParity(&followed{r, end, footer}, sh, kind)
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
