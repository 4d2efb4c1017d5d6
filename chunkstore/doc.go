// Package chunkstore keeps chunks: Put, Get, Has, and named roots on top.
//
// A store is a directory that can be copied with cp -a or rsync:
//
//	config.json          format version, store id, key (and a copy, config.copy.json)
//	packs/               the packs (package media); everything lies in them
//	index/               Pebble: where each chunk lies; can be rebuilt from the packs
//	lock, socket         of the owner process (package owner)
//
// # Index
//
// Keys and values; numbers are little-endian except where order matters:
//
//	'c' id[32]        -> pack u64, offset u32, payload length u32   a chunk's place
//	'p' pack u64 (BE) -> class u8, records u32, plain u64, stored u64, size u64
//	'r' name          -> body                                       a visible root
//
// # Order
//
// Records are appended to an unfinished pack. A full pack, or at a commit any
// pack, is sealed: footer, fsync, rename, fsync of the directory. Only then one
// batch puts its chunks, the pack itself and the roots in it into the index. A
// chunk is had from the moment it is appended (it is read back from the
// unfinished pack), and it is durable from the moment its pack is sealed.
//
// A commit seals the data pack, then writes its root as the last record of a
// meta pack, seals that, and applies its batch with a sync: the root is
// visible when, and only when, everything below it is durable.
//
// After a crash between any two steps: a pack under unfinished/ is finished
// from its good records; a finished pack that the index does not know is read
// by its footer. Both are done at Open, by the same code that publishes a pack
// in normal work. A root whose pack is finished is visible; a root whose pack
// is not was never reported as committed, and becomes visible if its record
// survived whole together with everything it was written after.
package chunkstore
