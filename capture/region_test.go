package capture

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// randomSpans makes ascending spans within n bytes, some of which touch.
func randomSpans(r *rand.Rand, n int) (spans []span) {
	for at := r.IntN(n); at < n; {
		s := span{at, min(n, at+1+r.IntN(n/4))}
		spans = append(spans, s)
		at = s.to + r.IntN(2)*r.IntN(n/4)
	}
	return spans
}

// TestNothingIsLeftOfTheLastRegion: whatever a region had before, it has what was
// read, and zeros.
func TestNothingIsLeftOfTheLastRegion(t *testing.T) {
	const n = 64
	r := rand.New(rand.NewPCG(7, 7))
	for range 20_000 {
		b := &buffer{region: make([]byte, n), dirty: randomSpans(r, n)}
		for _, d := range b.dirty {
			copy(b.region[d.from:d.to], bytes.Repeat([]byte{1}, n))
		}
		reads := randomSpans(r, n)
		if r.IntN(8) == 0 {
			reads = nil
		}
		b.clearLast(reads)
		want := make([]byte, n)
		for _, s := range reads {
			copy(b.region[s.from:s.to], bytes.Repeat([]byte{2}, n))
			copy(want[s.from:s.to], bytes.Repeat([]byte{2}, n))
		}
		if !bytes.Equal(b.region, want) {
			t.Fatalf("after %v, reads %v leave %v", b.dirty, reads, b.region)
		}
	}
}

// TestRecordsAreThoseOfTheirBytes: what naming a region's chunks left for their records
// goes to the right ones, also where chunks between them are stored already: records are
// what they would be if the capture had hashed their plain bytes for them alone.
func TestRecordsAreThoseOfTheirBytes(t *testing.T) {
	f := newFixture(t)
	d := newDisk(8, 20<<20)
	var framed atomic.Int64
	s := &hookedStore{Store: f.store, put: func(ses chunkstore.Session, ctx context.Context, recs []pack.Record) (chunkstore.PutResult, error) {
		codec := f.store.Codec()
		for _, rec := range recs {
			plain, err := codec.Decode(nil, rec.Bytes, rec.ID)
			if err != nil {
				return chunkstore.PutResult{}, err
			}
			if !bytes.Equal(rec.Bytes, codec.Encode(nil, rec.Kind, codec.ID(plain), plain).Bytes) {
				return chunkstore.PutResult{}, fmt.Errorf("a record of %d bytes is not that of its bytes", len(plain))
			}
			framed.Add(int64(codec.ChainsOf(len(plain))))
		}
		return ses.Put(ctx, recs)
	}}
	for at := range 3 {
		v, err := Run(context.Background(), s, options("vm", at+1, d))
		if err != nil {
			t.Fatal(err)
		}
		f.check(v, d)
		for off := 0; off < len(d.b); off += 300_000 {
			d.b[off] ^= byte(at + 1)
		}
		d.extents = []source.Extent{{Length: int64(len(d.b)), Data: true}}
	}
	if f.store.Info().FormatVersion >= 3 && framed.Load() == 0 {
		t.Error("no record had frames that were summed by what naming left")
	}
}
