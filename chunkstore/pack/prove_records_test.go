package pack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// hurtRecords makes n records, each of one of the codecs, of chunks of all lengths, of which about a third
// are hurt, and what an entry tells of each.
func hurtRecords(r *rand.Rand, codecs []*Codec, n int) (entries []Entry, records [][]byte) {
	for range n {
		c := codecs[r.IntN(len(codecs))]
		plain := make([]byte, 1+r.IntN(MaxChunk))
		if r.IntN(4) == 0 {
			plain = plain[:1+r.IntN(min(len(plain), 3000))]
		}
		for i := range plain { // of few letters, or of such as don't shrink
			plain[i] = byte(r.IntN(256))
			if len(plain)%3 > 0 {
				plain[i] &= 7
			}
		}
		rec := c.Encode(nil, KindData, c.ID(plain), plain)
		e, b := entryOf(rec, HeaderLen), bytes.Clone(rec.Bytes)
		switch r.IntN(20) {
		case 0:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 1:
			b[16+r.IntN(32)] ^= 1 // the id
		case 2:
			b = b[:r.IntN(len(b))]
		case 3:
			e.ID[5] ^= 1
		case 4:
			e.PlainLen ^= 1
		case 5: // whole, and of another chunk
			other := c.Encode(nil, KindData, c.ID(plain[1:]), plain)
			b, e.ID = other.Bytes, other.ID
		}
		entries, records = append(entries, e), append(records, b)
	}
	return entries, records
}

// TestProveMany: records that are proved together are judged as each is alone.
func TestProveMany(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	bad := 0
	for round := range 12 {
		c, err := NewCodec(Key{1}, []int{4 << 10, 16 << 10, 0}[round%3], []CodecID{CodecMinLZ, CodecZstd}[round%2], 2)
		if err != nil {
			t.Fatal(err)
		}
		newer, err := NewCodec(Key{1}, c.FrameSize(), c.compress, 3)
		if err != nil {
			t.Fatal(err)
		}
		n := []int{0, 1, groupRecords, groupRecords + 1, 100}[round%5]
		entries, records := hurtRecords(r, []*Codec{c, newer}, n)
		stored, decoded := make([]error, n), make([]error, n)
		checkStoredMany(entries, records, stored)
		for i := range n {
			if i%7 == 6 {
				decoded[i] = fmt.Errorf("an error from before")
			}
		}
		c.ProveMany(entries, records, decoded)
		for i, b := range records {
			_, want := CheckStored(b)
			if h, _, err := openStored(b); err == nil && want == nil {
				want = h.isOf(&entries[i])
			}
			if fmt.Sprint(stored[i]) != fmt.Sprint(want) {
				t.Errorf("round %d, stored bytes of record %d: %v, want %v", round, i, stored[i], want)
			}
			if _, want = c.Decode(nil, b, entries[i].ID); i%7 == 6 {
				want = fmt.Errorf("an error from before")
			}
			if fmt.Sprint(decoded[i]) != fmt.Sprint(want) {
				t.Errorf("round %d, record %d: %v, want %v", round, i, decoded[i], want)
			}
			if want != nil {
				bad++
			}
		}
	}
	if bad < 20 {
		t.Errorf("only %d records were bad", bad)
	}
}
