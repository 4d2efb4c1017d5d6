// Package pack is the format of records and packs: how chunks lie on disk.
// All numbers are little-endian and bounded; what is written here is on disk
// and must not change within a format version. Format 2 is format 1 with one more codec,
// format 3 is format 2 with other sums of records and of parity's blocks.
//
// # Pack
//
//	header | record … record | footer | sums | trailer | parity | sums | trailer
//
// A pack is written once, front to back, under a temporary name, and gets its
// final name when all of it is durable; from then on it never changes. A pack
// holds either disk data or maps and roots (its class), never both, so that a
// walk of all maps reads few packs.
//
// Header, 64 bytes at offset 0:
//
//	 0  8  magic "HFPACK\x00\x01"
//	 8  8  pack id, the number in the file's name
//	16 16  store id
//	32  1  class: 0 data, 1 meta
//	33 15  zero
//	48 16  sum of bytes 0..48
//
// Footer: one entry of 48 bytes a record, in the records' order, so that an
// index is rebuilt without reading the records:
//
//	 0 32  chunk id
//	32  4  offset of the record in the pack
//	36  4  payload length
//	40  4  plain length
//	44  1  kind
//	45  1  codec
//	46  2  zero
//
// Parity covers everything before the first sums. That is divided into blocks
// of equal length, the last one thought to be filled up with zeros; block i
// belongs to stripe i mod stripes, and each stripe has two parity blocks of
// Reed–Solomon code (klauspost/reedsolomon's default matrix over GF(2^8), as
// many data shards as the fullest stripe has blocks, missing ones zeros). The
// parity blocks go on with the numbering, so that any 2·stripes-1 neighbouring
// blocks, wherever they lie, cost a stripe two blocks at the most. A full pack
// has blocks of 64 KiB in 33 stripes: a run of 4 MiB heals, at 6.5 % of space.
//
//	block length  the smallest multiple of 4096 that makes 1023 blocks suffice, at most 65536
//	stripes       a 31st of the blocks, rounded up
//
// Sums: 8 bytes a block, data and parity, without the zeros filled up, then the
// sum of these bytes. A block's are the start of its BLAKE3 hash (parity kind 1)
// or its XXH3-64 (kind 2). They say which blocks are lost. They and the trailer stand before and behind the parity, so
// that one run does not take both.
//
// Trailer, 64 bytes, the last ones of the pack and once before the parity:
//
//	 0  8  magic "HFPEND\x00\x01"
//	 8  8  pack id
//	16  8  offset of the footer
//	24  4  number of footer entries
//	28  1  parity kind: 0 none (nothing follows the first trailer), 1 and 2 (since format 3) as above
//	29  1  zero
//	30  2  stripes
//	32 16  sum of the footer
//	48 16  sum of bytes 0..48
//
// # Record
//
// Header, 64 bytes, then the payload:
//
//	 0  4  magic "HFr1" or, since format 3, "HFr2"
//	 4  1  kind
//	 5  1  codec: 0 stored as it is, 1 zstd, 2 MinLZ (since format 2)
//	 6  1  frames: 0 one frame, else log2 of the plain bytes of each frame
//	 7  1  sealing: 0 not encrypted
//	 8  4  plain length, 1..65536
//	12  4  payload length
//	16 32  chunk id: BLAKE3-256 of the plain bytes, keyed with the store's key
//	48 16  sum of bytes 0..48 and the payload; of HFr2: their XXH3-128 as one
//	       stream, without a seed, the low 8 bytes first
//
// A sum, where nothing else is said, is the first 16 bytes of an unkeyed BLAKE3
// hash: a scrub checks the stored bytes without the store's key and without
// decoding them. The sums of records and of blocks find rot, and nothing is
// believed for them: anyone can make one, of BLAKE3 as of XXH3.
// The chunk id proves the plain bytes; nothing is served unless it fits.
//
// A pack may hold records of both magics. A record that moves to another pack, or is
// healed or copied, keeps its own.
//
// With frames (codecs 1 and 2 only, also where nothing shrinks) the payload begins
// with a table of one entry of 20 bytes a frame, then the frames follow:
//
//	0  4  stored length of the frame; equal to its plain length: not compressed
//	4 16  frame sum
//
// so that one frame is read, decoded and proved alone. A frame sum is the first 16 bytes
// of BLAKE3, keyed with a key derived from the store's, of
//
//	HFr1  the frame's plain bytes, the chunk id and the frame number (one byte)
//	HFr2  the frame's chaining value (32 bytes) and the chunk id
//
// The chaining value is that of the frame in the BLAKE3 tree whose root is the chunk id,
// under the same key. Frames are of 2^k KiB, and two at the least: so each is a subtree,
// also a shorter last one, and never the root. It begins with the number of the frame's
// first KiB in the chunk, so the frame's place is in it. Who hashes a chunk for its id has
// all chaining values on the way, and a frame sum takes one block more. No bytes are both
// messages: the ids of two chunks would have to be one, shifted by a byte.
//
// All frames of a store have one size, which config.json tells: a number is a frame's
// place only among frames of one size, so frames of another are not believed alone.
//
// # After a crash
//
// A pack under its temporary name may end anywhere and may have unwritten gaps
// in what was not yet synced. Scan finds every record in it whose sum fits,
// also behind a gap; those are kept and the pack is finished in place, its
// footer behind everything that was there.
package pack
