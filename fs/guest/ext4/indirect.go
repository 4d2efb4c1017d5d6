package ext4

import (
	"context"

	"holdfast/fs/guest"
)

// The older map (Direct/Indirect Block Addressing): 12 pointers to blocks,
// then one to a block of pointers, one to a block of those, one to a block of
// those again. A pointer that is 0 is a hole.
const directBlocks = 12

// mapIndirect looks a block up in the pointers.
func (f *FS) mapIndirect(ctx context.Context, in *inode, block uint64) (run, error) {
	if block < directBlocks {
		return f.pointerRun(in, in.mapping[:4*directBlocks], block, block)
	}
	perBlock := uint64(f.sb.blockSize) / 4
	rest, span := block-directBlocks, uint64(1) // span: blocks below one pointer
	for level := range 3 {
		if rest < span*perBlock {
			pointer := le.Uint32(in.mapping[4*(directBlocks+level):])
			return f.descend(ctx, in, uint64(pointer), block, rest, span)
		}
		span *= perBlock
		rest -= span
	}
	if in.size > 0 && block <= uint64(in.size-1)/uint64(f.sb.blockSize) {
		return run{}, guest.Corrupt("ext4 inode %d: block %d lies beyond its block pointers", in.number, block)
	}
	return run{start: block, count: maxLogical - block, hole: true}, nil
}

// descend follows pointers down: rest is the block's number below pointer,
// whose own entries span that many blocks each.
func (f *FS) descend(ctx context.Context, in *inode, pointer, block, rest, span uint64) (run, error) {
	perBlock := uint64(f.sb.blockSize) / 4
	for {
		if pointer == 0 {
			return run{start: block, count: span*perBlock - rest, hole: true}, nil
		}
		b, err := f.block(ctx, pointer)
		if err != nil {
			return run{}, err
		}
		if span == 1 {
			return f.pointerRun(in, b, rest, block)
		}
		i := rest / span
		pointer, rest, span = uint64(le.Uint32(b[4*i:])), rest%span, span/perBlock
	}
}

// pointerRun gives the run that begins at the i-th pointer of b.
func (f *FS) pointerRun(in *inode, b []byte, i, block uint64) (run, error) {
	at := func(i uint64) uint64 { return uint64(le.Uint32(b[4*i:])) }
	r := run{start: block, count: 1, place: at(i), hole: at(i) == 0}
	for n := uint64(len(b) / 4); i+r.count < n; r.count++ {
		want := uint64(0)
		if !r.hole {
			want = r.place + r.count
		}
		if at(i+r.count) != want {
			break
		}
	}
	if r.hole {
		return r, nil
	}
	return r, f.checkPlace(in, r.place, r.count)
}
