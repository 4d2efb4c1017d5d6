package layer

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestBitRun compares with a count of single bits.
func TestBitRun(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	bit := func(b []byte, i int, order BitOrder) bool {
		if order == HighFirst {
			return b[i/8]&(0x80>>(i%8)) != 0
		}
		return b[i/8]&(1<<(i%8)) != 0
	}
	for range 3000 {
		b := make([]byte, 1+r.IntN(6))
		for i := range b {
			b[i] = []byte{0, 0xff, byte(r.Uint32()), byte(r.Uint32())}[r.IntN(4)]
		}
		order, first := BitOrder(r.IntN(2)), r.IntN(8*len(b))
		want := 1
		for first+want < 8*len(b) && bit(b, first+want, order) == bit(b, first, order) {
			want++
		}
		if n, set := BitRun(b, first, order); n != want || set != bit(b, first, order) {
			t.Fatalf("BitRun(%x, %d, %d) = %d, %v; want %d", b, first, order, n, set, want)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct{ refs, want []string }{
		{nil, nil},
		{[]string{"", `..`, `.\`, `C:\`, "/"}, nil},
		{[]string{`.\a.vhd`}, []string{"a.vhd"}},
		{[]string{`..\x\a.vhd`, `C:\vm\a.vhd`}, []string{"../x/a.vhd", "a.vhd"}},
		{[]string{`\\?\Volume{1-2}\vm\a.vhd`, `\\server\share\b.vhd`}, []string{"a.vhd", "b.vhd"}},
		{[]string{"/img/a.vhd"}, []string{"/img/a.vhd", "a.vhd"}},
		{[]string{`..\..\etc\shadow`}, []string{"../../etc/shadow", "shadow"}}, // OpenRelated refuses the first
	} {
		if got := candidates(c.refs); !slices.Equal(got, c.want) {
			t.Errorf("candidates(%q) = %q, want %q", c.refs, got, c.want)
		}
	}
}
