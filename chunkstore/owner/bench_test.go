package owner

import (
	"crypto/rand"
	"sync/atomic"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// benchSides runs a benchmark on the owner and through the socket.
func benchSides(b *testing.B, do func(b *testing.B, h *Handle)) {
	own, cli := pair(b, fast())
	b.Run("owner", func(b *testing.B) { do(b, own) })
	b.Run("client", func(b *testing.B) { do(b, cli) })
}

func BenchmarkGet(b *testing.B) {
	const chunks = 256
	benchSides(b, func(b *testing.B, h *Handle) {
		var plains [][]byte
		for i := range chunks {
			plains = append(plains, plainOf(uint64(i), pack.MaxChunk))
		}
		ids := store(b, h, b.Name()+rand.Text(), plains...)
		var next atomic.Int64
		b.SetBytes(pack.MaxChunk)
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			buf := make([]byte, 0, pack.MaxChunk+pack.Slack)
			for p.Next() {
				if _, err := h.Get(b.Context(), ids[next.Add(1)%chunks], buf); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkHas(b *testing.B) {
	benchSides(b, func(b *testing.B, h *Handle) {
		s := begin(b, h)
		ids, have := make([]chunkstore.ID, 1024), make([]bool, 1024)
		for i := range ids {
			ids[i] = h.ID([]byte{byte(i), byte(i >> 8)})
		}
		for b.Loop() {
			if err := s.Has(b.Context(), ids, have); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPut puts regions that the store has, so that the exchange counts
// and not the disk.
func BenchmarkPut(b *testing.B) {
	benchSides(b, func(b *testing.B, h *Handle) {
		s := begin(b, h)
		var recs []pack.Record
		for i := range 64 {
			recs = append(recs, encode(h, plainOf(uint64(i), pack.MaxChunk)))
		}
		b.SetBytes(64 * pack.MaxChunk)
		for b.Loop() {
			if _, err := s.Put(b.Context(), recs); err != nil {
				b.Fatal(err)
			}
		}
	})
}
