package volume

import (
	"bytes"
	"testing"
)

// numbered is a volume whose bytes tell where they lie.
type numbered int64

func (v numbered) Size() int64 { return int64(v) }

func (v numbered) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = byteAt(off + int64(i))
	}
	return len(p), nil
}

func byteAt(off int64) byte { return byte(off ^ off>>8 ^ off>>16) }

// TestPeek: what was read stays until the probe is over, however much is read after it,
// and buffers that another probe has had tell nothing of it.
func TestPeek(t *testing.T) {
	for range 3 {
		p := &peek{ctx: t.Context(), v: numbered(64 << 20)}
		type piece struct {
			off int64
			b   []byte
		}
		var pieces []piece
		for i, n := range []int64{1, 512, bigSize/8 - 1, bigSize / 8, bigSize, bigSize + 1, 4096, headSize} {
			for k := range int64(20) {
				off := headSize*k + int64(i)*4099
				pieces = append(pieces, piece{off, p.at(off, n)})
				if got := pieces[len(pieces)-1].b; int64(len(got)) != n {
					t.Fatalf("%d bytes at %d: %d", n, off, len(got))
				}
			}
		}
		for _, q := range pieces {
			want := make([]byte, len(q.b))
			p.v.ReadAt(want, q.off) //nolint:errcheck // it has none
			if !bytes.Equal(q.b, want) {
				t.Fatalf("%d bytes at %d are others now", len(q.b), q.off)
			}
		}
		p.done()
	}
}
