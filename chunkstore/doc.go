// Package chunkstore keeps chunks: Put, Get, Has, and named roots on top.
//
// A store is a directory that can be copied with cp -a or rsync:
//
//	config.json          format version, store id, key (and a copy, config.copy.json)
//	packs/               the packs (package media); everything lies in them
//	index/               Pebble: where each chunk lies; can be rebuilt from the packs
//	replicas.json        other stores of the same key, which heal this one
//	log/heal.jsonl       what heals did (and heal.1.jsonl to heal.3.jsonl, older)
//	quarantine/          packs that a repair has replaced, until a full scrub has passed
//	trash/               packs that a prune has done away with, until their grace is over
//	prune/               what a prune has marked so far; worth nothing to others
//	filter               which chunks are surely new, with what entered since in
//	                     filter.young; worth nothing to others, made anew
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
//	'g'               -> JSON                    how far a prune is (pruneState)
//	'x' id[32]        -> a place, as in 'c'      a condemned chunk: dead if it still lies there
//	'y' name          -> nothing                 a root that the prune has walked
//	'm', 'l' id[32]   -> number of the walk      a map that a prune, a look has walked
//	'z' name          -> body                    a root that was dropped and whose record still lies in a pack
//	't' pack u64 (BE) -> time i64                a pack in the trash, or on its way there
//	'w' name          -> time i64, state u8, lasting u8             a version's validation
//	'v' name disk u16 (BE) -> time i64, state u8, tries u16, next i64, problem
//	                                                                validation of one of its disks
//	'j' name          -> a background job's own words
//
// Times are Unix seconds. 'd', 's', 'w', 'v' and 'j' are lost with the index and
// cost another scrub, no more; so is 'q', and then the next scrub moves the pack.
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
// # Prune
//
// A prune (1) drops the roots that it is told to, in one synced batch, while no
// root can become visible; (2) walks the others and marks what they lead to, in
// sorted files, not in memory; (3) condemns every chunk in the index that is not
// marked, by an 'x'; (4) waits for the sessions that were open then, and walks
// the roots that became visible meanwhile: what they lead to is revived; (5)
// copies what is alive in packs with much that is dead, and in small ones, to
// new packs, makes them durable, and in one synced batch leads the chunks there,
// takes the dead ones out of the index and says of the old packs that they are
// trash; (6) renames these to trash/; (7) deletes them there when their grace is
// over. Packs without anything alive need no copy.
//
// From before the first 'x' on, a session that asks for a chunk or puts it takes
// its 'x' away, and (5) looks at each 'x' again under the lock that this takes.
// A session from before may know chunks that it never asked for again, such as
// those of a previous version: so (4). No clock has a say; the grace only delays.
//
// A record lies in a pack if and only if the index leads to it or to another
// record of its chunk: a dead chunk stays in the index until its pack goes. So a
// scrub can tell a lost entry from a pruned one, and a dead chunk that is wanted
// again costs nothing. A dropped root keeps its name taken, by 'z', until no pack
// holds its record, and is shown to whoever names roots to drop: a tombstone
// above it must stay as long, because an index made anew shows both again.
//
// After a crash: before (3) is complete, the next prune begins anew (or goes on
// with the walk, if it was stopped in good order); after that it goes on with
// (4), for roots may have become visible of which the log lost the revival; a
// new pack without a batch holds copies and is adopted; a pack with a 't' among
// the packs is moved to the trash by Open, and never adopted. A pack that the
// index knows is in use, whatever a 't' or its name in the trash say: an index
// made anew, or a copy made beside a prune, may have it in both places.
//
// Memory: 32 MiB of marks, 64 buffers to read them back, 100 bytes a pack.
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
