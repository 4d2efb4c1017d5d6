// Package chunkstore keeps chunks: Put, Get, Has, and named roots on top.
//
// A store is a directory that can be copied with cp -a or rsync:
//
//	config.json          format version, store id, key (and a copy, config.copy.json)
//	packs/               the packs (package media); everything lies in them
//	index/               Pebble: where each chunk lies; can be rebuilt from the packs
//	replicas.json        other stores of the same key, which heal this one
//	log/heal.jsonl       what heals did (and heal.1.jsonl to heal.3.jsonl, older)
//	quarantine/          packs that a repair has replaced; nothing reads them
//	lock, socket         of the owner process (package owner)
//
// # Index
//
// Keys and values; numbers are little-endian except where order matters:
//
//	'c' id[32]        -> pack u64, offset u32, payload length u32   a chunk's place
//	'p' pack u64 (BE) -> class u8, records u32, plain u64, stored u64, size u64
//	'r' name          -> body                                       a visible root
//	'd' id[32]        -> kind u8, pack u64, offset u32, length u32, first seen i64,
//	                     last seen i64, what was tried              a damaged chunk
//	's' pack u64 (BE) -> time i64, 1 quick or 2 deep u8, result u8  a pack's last proof
//	'q' pack u64 (BE) -> pack u64    replaced by that one, on its way to quarantine/
//	'w' name          -> time i64, state u8                         a version's validation
//
// Times are Unix seconds. 'd', 's' and 'w' are lost with the index and cost
// another scrub, no more; so is 'q', and then the next scrub moves the pack.
//
// A chunk whose 'd' says corrupt or missing counts as absent: the next capture
// that brings it stores it again, and the batch that publishes its new place
// removes the 'd'. Unreadable chunks are no proof of damage and are had.
//
// # Repair
//
// A pack is never changed. One with damage, all of which comes back, is
// replaced: (1) a new pack with every record that is used, each decoded and
// proved, is made durable; (2) one synced batch moves its chunks there, adds the
// new pack, ends the damage and says in 'q' that the old one is replaced; (3)
// the old file is renamed to quarantine/; (4) its entries leave the index. A
// crash before 2 leaves an unknown pack, which Open indexes; after 2 Open
// finishes what 'q' says. Where something does not come back, the old pack
// stays and a new one takes in what was healed.
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
// in normal work. A root whose pack is finished is visible: everything below it
// was durable before. A root in an unfinished pack was never reported as
// committed and is struck out. What a full disk or a bad sector keeps from being
// finished is left for the next Open; nothing that was committed relies on it.
package chunkstore
