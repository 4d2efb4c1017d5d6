package capture

import (
	"bytes"
	"math/rand/v2"
	"testing"
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
		w := &worker{region: make([]byte, n), dirty: randomSpans(r, n)}
		for _, d := range w.dirty {
			copy(w.region[d.from:d.to], bytes.Repeat([]byte{1}, n))
		}
		reads := randomSpans(r, n)
		if r.IntN(8) == 0 {
			reads = nil
		}
		w.clearLast(reads)
		want := make([]byte, n)
		for _, s := range reads {
			copy(w.region[s.from:s.to], bytes.Repeat([]byte{2}, n))
			copy(want[s.from:s.to], bytes.Repeat([]byte{2}, n))
		}
		if !bytes.Equal(w.region, want) {
			t.Fatalf("after %v, reads %v leave %v", w.dirty, reads, w.region)
		}
	}
}
