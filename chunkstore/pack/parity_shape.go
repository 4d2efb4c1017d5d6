package pack

// Parity's arithmetic, apart from its bytes.

const (
	maxBlock     = 64 << 10
	blockUnit    = 4 << 10
	targetBlocks = 1023
	stripeShare  = 31 // data blocks for each stripe
	parityShards = 2
	blockSumLen  = 8
)

// shape is how covered bytes are divided into blocks and stripes. It follows
// from their number alone, and must not change: it is on disk.
type shape struct {
	covered int64
	block   int64 // bytes
	blocks  int   // of data
	stripes int
	shards  int // data blocks of the fullest stripe
}

func shapeOf(covered int64) shape {
	units := ceilDiv(covered, targetBlocks*blockUnit)
	s := shape{covered: covered, block: min(maxBlock, max(1, units)*blockUnit)}
	s.blocks = int(ceilDiv(covered, s.block))
	s.stripes = max(1, int(ceilDiv(int64(s.blocks), stripeShare)))
	s.shards = int(ceilDiv(int64(s.blocks), int64(s.stripes)))
	return s
}

// size is the length of a pack of this shape.
func (s shape) size() int64 { return s.covered + 2*(s.sumsLen()+TrailerLen) + s.parityLen() }

// coveredBy returns all that parity can cover in a pack of size bytes.
func coveredBy(size int64) (covered []int64) {
	for block := int64(blockUnit); block <= maxBlock; block += blockUnit {
		for blocks := int64(1); (blocks-1)*block < size && (blocks <= targetBlocks || block == maxBlock); blocks++ {
			s := shapeOf(blocks * block) // the others of so many blocks differ in what they cover alone
			if s.block != block {
				continue
			}
			s.covered -= s.size() - size
			if s == shapeOf(s.covered) {
				covered = append(covered, s.covered)
			}
		}
	}
	return covered
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// total is the number of blocks with those of parity.
func (s shape) total() int { return s.blocks + parityShards*s.stripes }

func (s shape) parityLen() int64 { return int64(parityShards*s.stripes) * s.block }

func (s shape) sumsLen() int64 { return int64(s.total())*blockSumLen + sumLen }

// sumsOff returns where the first or the second copy of the sums stands.
func (s shape) sumsOff(second bool) int64 {
	if second {
		return s.parityOff() + s.parityLen()
	}
	return s.covered
}

func (s shape) parityOff() int64 { return s.covered + s.sumsLen() + TrailerLen }

// place returns where block i, counted through data and parity, lies in the
// pack, and how many bytes of it lie there; the rest is zeros.
func (s shape) place(i int) (off int64, n int) {
	if i >= s.blocks {
		return s.parityOff() + int64(i-s.blocks)*s.block, int(s.block)
	}
	off = int64(i) * s.block
	return off, int(min(s.block, s.covered-off))
}

// shard returns the block that is shard k of a stripe: data first, then parity.
// ok is false for a data shard that the stripe does not have.
func (s shape) shard(stripe, k int) (block int, ok bool) {
	if k < s.shards {
		i := stripe + k*s.stripes
		return i, i < s.blocks
	}
	// The first block at or behind s.blocks of this stripe, and the next.
	first := s.blocks + (stripe-s.blocks%s.stripes+s.stripes)%s.stripes
	return first + (k-s.shards)*s.stripes, true
}

func (s shape) stripeOf(block int) int { return block % s.stripes }
