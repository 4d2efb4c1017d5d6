package pack

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

var paritySeed = flag.Uint64("parity-seed", 1, "seed of the parity tests")

func TestShape(t *testing.T) {
	for _, covered := range []int64{
		HeaderLen, 4095, 4096, 4097, 31 * 4096, 31*4096 + 1, 1023 * 4096, 1023*4096 + 1, 2 << 20, 10 << 20, 60 << 20, 1023 << 16, 1023<<16 + 1, 66 << 20, 300 << 20, MaxPack,
	} {
		s := shapeOf(covered)
		if s.block%blockUnit != 0 || s.block > maxBlock || int64(s.blocks)*s.block < covered || int64(s.blocks-1)*s.block >= covered {
			t.Fatalf("%d bytes: %+v", covered, s)
		}
		if s.shards > 32 || s.shards < 1 {
			t.Errorf("%d bytes: %d shards", covered, s.shards)
		}
		if over := float64(s.parityLen()+2*(s.sumsLen()+TrailerLen)) / float64(covered); covered >= 4<<20 && over > 0.07 {
			t.Errorf("%d bytes: parity costs %.4f", covered, over)
		}
		// A full pack survives a run of 4 MiB wherever it begins.
		if run := int64(2*s.stripes-1)*s.block - s.block + 1; covered >= 1023<<16 && run < 4<<20 {
			t.Errorf("%d bytes: a run of %d bytes heals", covered, run)
		}
		if all := coveredBy(s.size()); !slices.Contains(all, covered) || len(all) > 20 {
			t.Errorf("%d bytes: a pack of %d covers one of %d", covered, s.size(), all)
		}
		seen := make([]int, s.total())
		for stripe := range s.stripes {
			for k := range s.shards + parityShards {
				i, ok := s.shard(stripe, k)
				if !ok {
					continue
				}
				if s.stripeOf(i) != stripe {
					t.Fatalf("%d bytes: block %d is in stripe %d, found in %d", covered, i, s.stripeOf(i), stripe)
				}
				seen[i]++
			}
		}
		for i, n := range seen {
			if n != 1 {
				t.Fatalf("%d bytes: block %d is in %d stripes", covered, i, n)
			}
		}
	}
}

// parityPack writes a pack of about n bytes with parity, as a store of the format has it.
func parityPack(t testing.TB, n, format int) ([]byte, []Entry) {
	t.Helper()
	c := testCodecBy(t, 0, CodecMinLZ, format)
	var dst memDest
	w := NewWriter(&dst, Header{Pack: 42}, WriterOptions{Format: format})
	for i := 0; w.Size() < int64(n); i++ {
		plain := plainOf(uint64(i), min(MaxChunk, n), 0.3)
		if _, err := w.Append(c.Encode(nil, KindData, c.ID(plain), plain)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	return dst.Bytes(), w.Entries()
}

// hurtReader fails reads that touch [from, to) when fail is set.
type hurtReader struct {
	io.ReaderAt
	from, to int64
}

var errHurt = errors.New("bad sector")

func (h *hurtReader) ReadAt(p []byte, off int64) (int, error) {
	if off < h.to && off+int64(len(p)) > h.from {
		return 0, errHurt
	}
	return h.ReaderAt.ReadAt(p, off)
}

// healsTo checks that everything that parity covers reads as in want.
func healsTo(t *testing.T, r io.ReaderAt, size int64, want []byte, where string) {
	t.Helper()
	p, err := OpenParity(r, size)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	got, _, err := p.ReadRange(0, int(p.sh.covered))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if !bytes.Equal(got, want[:len(got)]) {
		t.Fatalf("%s: healed to other bytes", where)
	}
}

// TestRunsHeal overwrites, zeroes, cuts off and makes unreadable runs as long as
// the format promises, at every place of packs of several sizes.
func TestRunsHeal(t *testing.T) {
	t.Logf("seed %d (-parity-seed)", *paritySeed)
	for _, format := range testFormats {
		testRunsHeal(t, format)
	}
}

func testRunsHeal(t *testing.T, format int) {
	t.Helper()
	r := rand.New(rand.NewPCG(*paritySeed, 5))
	for _, n := range []int{1, 3000, 200 << 10, 6 << 20} {
		b, entries := parityPack(t, n, format)
		tr, err := findTrailer(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		sh := shapeOf(tr.covered())
		run := max(1, int64(2*sh.stripes-1)*sh.block-sh.block+1)
		for i := range 15 {
			from := r.Int64N(int64(len(b)))
			switch i {
			case 0:
				from = 0
			case 1:
				from = int64(len(b)) - run
			case 2:
				from = tr.covered() - run/2
			}
			from = max(0, from)
			to := min(int64(len(b)), from+run)
			bad := bytes.Clone(b)
			switch i % 3 {
			case 0:
				clear(bad[from:to])
			case 1:
				copy(bad[from:to], plainOf(uint64(i), int(to-from), 0))
			}
			var rd io.ReaderAt = bytes.NewReader(bad)
			if i%3 == 2 {
				rd = &hurtReader{rd, from, to}
			}
			healsTo(t, rd, int64(len(b)), b, "a run")
			if _, got, err := ReadFooter(rd, int64(len(b))); from >= HeaderLen && (err != nil || len(got) != len(entries)) {
				t.Fatalf("footer of %d bytes with [%d, %d) hurt: %v", len(b), from, to, err)
			}
		}
		cut := int64(len(b)) - min(run, int64(len(b))-tr.covered()-sh.sumsLen()-TrailerLen)
		healsTo(t, bytes.NewReader(b[:cut]), cut, b, "cut off")
	}
}

// TestAnyTwoBlocksOfAStripeHeal loses each pair of blocks of a stripe; three are
// an error and never other bytes.
func TestAnyTwoBlocksOfAStripeHeal(t *testing.T) {
	for _, format := range testFormats {
		testTwoBlocksHeal(t, format)
	}
}

func testTwoBlocksHeal(t *testing.T, format int) {
	t.Helper()
	b, _ := parityPack(t, 600<<10, format)
	tr, err := findTrailer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	sh := shapeOf(tr.covered())
	lose := func(bad []byte, k int) {
		if i, ok := sh.shard(1, k); ok {
			off, n := sh.place(i)
			clear(bad[off : off+int64(n)])
			bad[off] ^= 0xff
		}
	}
	for j := range sh.shards + parityShards {
		for k := range j {
			bad := bytes.Clone(b)
			lose(bad, j)
			lose(bad, k)
			healsTo(t, bytes.NewReader(bad), int64(len(bad)), b, "two blocks")
		}
	}
	bad := bytes.Clone(b)
	for k := range 3 {
		lose(bad, k)
	}
	p, err := OpenParity(bytes.NewReader(bad), int64(len(bad)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.ReadRange(0, int(p.sh.covered)); !errors.Is(err, ErrBeyondParity) {
		t.Fatalf("three blocks of a stripe lost: %v", err)
	}
}

func TestEveryFlippedBitHeals(t *testing.T) {
	for _, format := range testFormats {
		testFlippedBitsHeal(t, format)
	}
}

func testFlippedBitsHeal(t *testing.T, format int) {
	t.Helper()
	b, _ := parityPack(t, 20000, format)
	r := rand.New(rand.NewPCG(*paritySeed, 6))
	for range 3000 {
		bit := r.IntN(len(b) * 8)
		b[bit/8] ^= 1 << (bit % 8)
		bad := bytes.NewReader(bytes.Clone(b))
		b[bit/8] ^= 1 << (bit % 8)
		healsTo(t, bad, int64(len(b)), b, "a bit")
	}
}

func FuzzParity(f *testing.F) {
	for _, format := range testFormats {
		b, _ := parityPack(f, 9000, format)
		f.Add(b, uint32(70), uint16(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, off uint32, n uint16) {
		p, err := OpenParity(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if got, _, err := p.ReadRange(int64(off), int(n)); err == nil && len(got) != int(n) {
			t.Fatalf("%d bytes, want %d", len(got), n)
		}
	})
}

func BenchmarkParity(b *testing.B) {
	data := plainOf(1, 64<<20, 0)
	sh := shapeOf(int64(len(data)))
	for _, kind := range []parityKind{parityBLAKE3, parityXXH3} {
		b.Run(fmt.Sprintf("kind=%d", kind), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, _, err := makeParity(bytes.NewReader(data), sh, kind); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestUnreadableSectorsHeal: one sector that cannot be read, wherever it lies, does not
// hide what else there is of a pack that is read in one piece.
func TestUnreadableSectorsHeal(t *testing.T) {
	const sector = 512
	for _, n := range []int{1, 3000} {
		b, _ := parityPack(t, n, formatV2)
		for from := int64(0); from < int64(len(b)); from += sector {
			rd := &hurtReader{bytes.NewReader(b), from, from + sector}
			healsTo(t, rd, int64(len(b)), b, fmt.Sprintf("sector at %d of %d", from, len(b)))
		}
	}
}
