package layout

import (
	"math/rand/v2"
	"testing"
)

// oracle is the bits of one plane in blocks of 512 bytes.
type oracle struct {
	bits []bool
	unit func(off int64) int64
}

func (o oracle) set(from, to int64, on bool) {
	for at := from; at < to; {
		unit := o.unit(at)
		begin := (at + unit - 1) / unit * unit
		if begin != at { // a part of a block
			at = min(begin, to)
			continue
		}
		if at+unit <= to {
			for i := at / fine; i < (at+unit)/fine; i++ {
				o.bits[i] = on
			}
		}
		at += unit
	}
}

// TestPagesAgainstBits sets and clears random ranges of two planes, partly
// fine, with all pages in memory and with hardly any.
func TestPagesAgainstBits(t *testing.T) {
	const size = 5 * areaBytes / 2
	for _, memory := range []int{1 << 30, 1} {
		p := newPages(memory, t.TempDir())
		p.refine(1, areaBytes+1, areaBytes+2) // the second area of disk 1
		rnd := rand.New(rand.NewPCG(1, uint64(memory)))
		for disk := range 2 {
			pl := plane{disk, outPlane}
			o := oracle{make([]bool, size/fine), func(off int64) int64 {
				if disk == 1 && off/areaBytes == 1 {
					return fine
				}
				return coarse
			}}
			for range 300 {
				from := rnd.Int64N(size - 1)
				length := rnd.Int64N([]int64{2000, 70_000, 1 << 20, areaBytes}[rnd.IntN(4)])
				to := min(from+1+length, size)
				if rnd.IntN(2) == 0 {
					from, to = from/fine*fine, to/fine*fine
				}
				on := rnd.IntN(3) > 0
				p.set(pl, from, to, on)
				o.set(from, to, on)
			}
			at := int64(0)
			for at < size {
				want := o.bits[at/fine]
				end := at
				for end < size && o.bits[end/fine] == want {
					end += fine
				}
				if got := p.next(pl, at, size, !want); got != end {
					t.Fatalf("memory %d, disk %d: bits of %v from %d to %d, want to %d", memory, disk, want, at, got, end)
				}
				at = end
			}
		}
		if p.err != nil {
			t.Fatal(p.err)
		}
		if memory == 1 && (p.file == nil || len(p.clock) != 4) {
			t.Errorf("%d pages in memory, file %v: nothing was spilled", len(p.clock), p.file)
		}
		p.close()
	}
}

// TestNoTemporaryFile: what can't be kept is forgotten as a whole.
func TestNoTemporaryFile(t *testing.T) {
	l := &Layout{names: []string{"a"}, pages: newPages(1, "/nonexistent")}
	pl := plane{0, cutPlane}
	for a := range int64(6) {
		l.pages.mark(pl, a*areaBytes+8192)
	}
	if l.Err() == nil {
		t.Fatal("no error without a directory for the file")
	}
	if got := l.Cuts(nil, "a", 0, areaBytes); len(got) > 0 {
		t.Errorf("cuts %v after an error", got)
	}
}
