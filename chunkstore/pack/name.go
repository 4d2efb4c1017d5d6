package pack

import "holdfast/chunkstore/blake"

// ID names plain bytes under the codec's key.
func (c *Codec) ID(plain []byte) ID { return c.ids.Sum(plain) }

// IDs names plain bytes of many chunks: ids[i] becomes the id of plain[i]. It is
// faster than one after the other.
func (c *Codec) IDs(ids []ID, plain []blake.Message) { blake.SumMany(c.ids, ids, plain) }

// Chain is the chaining value of a frame: what stands for its bytes, and for their place
// in the chunk, in the tree of hashes that the chunk's id is the root of.
type Chain = [32]byte

// ChainsOf returns how many chains a chunk of n plain bytes has: one for each frame that
// Encode makes, none where it makes one frame or sums that are not made of chains.
func (c *Codec) ChainsOf(n int) int {
	if c.frameLog == 0 || c.version == recordV1 {
		return 0
	}
	return blake.NodesOf(n, c.frameLog)
}

// NameMany is IDs that keeps the chains, which come with the ids: chunk by chunk, each as
// many as ChainsOf says, which is what chains has room for.
func (c *Codec) NameMany(ids []ID, chains []Chain, plain []blake.Message) {
	if len(chains) == 0 {
		c.IDs(ids, plain)
		return
	}
	blake.SumNodes(c.ids, ids, plain, c.frameLog, chains)
}
