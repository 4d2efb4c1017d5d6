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
// for what fills too few lanes, github.com/zeebo/blake3 does the work. Both
// compute the same function: "BLAKE3, one function, fast everywhere",
// https://github.com/BLAKE3-team/BLAKE3-specs.
package blake
