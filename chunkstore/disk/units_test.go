package disk

import (
	"testing"

	"holdfast/chunkstore/pack"
)

func TestBlocksOf(t *testing.T) {
	for i := range 64 {
		if got, want := blocksOf(1<<i), uint32(1)<<(i*GrainSize/BlockSize); got != want {
			t.Errorf("grain %d is in blocks %b, want %b", i, got, want)
		}
	}
	if blocksOf(0) != 0 || blocksOf(1|1<<63) != 3 {
		t.Error("none or both")
	}
}

func TestGrainsOf(t *testing.T) {
	for _, off := range []int{0, 1, GrainSize - 1, GrainSize, GrainSize + 1, 5 * GrainSize, RegionSize - GrainSize, RegionSize - 1} {
		for _, n := range []int{1, 2, 4096, GrainSize - 1, GrainSize} {
			if off+n > RegionSize {
				continue
			}
			var want uint64
			for g := range 64 {
				if off < (g+1)*GrainSize && off+n > g*GrainSize {
					want |= 1 << g
				}
			}
			if got := grainsOf(off, n); got != want {
				t.Errorf("%d bytes at %d: %b, want %b", n, off, got, want)
			}
		}
	}
}

func TestRootLevel(t *testing.T) {
	for size, want := range map[int64]int{1: 0, SpanSize: 0, SpanSize + 1: 1, 512 << 30: 1, 512<<30 + 1: 2, MaxSize: 2} {
		if got := rootLevel(size); got != want {
			t.Errorf("level %d for %d bytes, want %d", got, size, want)
		}
	}
	if maxEntries(2) != 128 || regionGrain != 64 || lowBlock != 1<<32-1 || pack.MaxChunk != 64<<10 {
		t.Error("a number of the format has changed")
	}
}
