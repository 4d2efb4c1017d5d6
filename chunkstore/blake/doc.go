// Package blake computes BLAKE3 hashes, of one message or of many at a time.
//
// BLAKE3 divides a message into chunks of 1 KiB (not the store's chunks),
// compresses each, block by block of 64 bytes, into a chaining value of 32
// bytes, and joins these in pairs, level by level, up to the root:
//
//	root
//	 ├── parent ── chunk 0, chunk 1
//	 └── chunk 2                       (an odd one moves up as it is)
//
// A processor with AVX-512 compresses 16 inputs side by side, one in each lane
// of its registers. All lanes take the same steps, but each has its own input,
// counter, number of blocks and flags, so that chunks of several messages, and
// short ones, fill lanes together; then parents, level by level. Elsewhere, and
// for what fills too few lanes, github.com/zeebo/blake3 does the work; it hands
// out no chaining values, for which lukechampine.com/blake3/guts serves. All
// compute the same function: "BLAKE3, one function, fast everywhere",
// https://github.com/BLAKE3-team/BLAKE3-specs.
//
// The chaining value of an aligned run of 2^k KiB stands for it in the tree: it
// comes with the hash, and can be computed from the run alone, as a chunk's
// number in its message is all that it knows of what is around it. It is as
// hard to find other bytes for as a hash (section 2.1 of the paper: what is a
// root differs from what is none by a flag).
package blake
