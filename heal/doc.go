// Package heal proves what a store holds, mends what can be mended, and says
// what is hurt.
//
// A scrub walks the packs, each front to back in large steps, several packs at
// a time; the records of a step are proved on all cores while the next is read. Quick, it proves the stored bytes of each record, the footer, the
// sums, the trailers and the parity by their checksums; deep, it decodes each
// record and computes the chunk's id, too. What it finds is compared with the
// index: packs that the index does not know, entries that lead to no pack, to no
// record or to a wrong one. Then every map of every version is followed, and
// each chunk that it names must be in the index.
//
// The index remembers of each pack when and how it was proved, so a scrub that
// was stopped goes on where it was: it passes over packs that were proved within
// Options.OlderThan and found whole. Damage is remembered chunk by chunk, at
// once (package chunkstore).
//
// Repair mends in this order: index entries, by records that were just proved;
// packs, by their parity (a new pack replaces the old one, which goes to
// quarantine); damaged chunks, by other records of the same chunk; records of
// versions, by the index. What is left waits for the next capture that brings
// the same content: damaged chunks count as absent.
//
// # Memory
//
// A scrub holds for each worker, of which there are as many as cores, 5 MiB and
// about 100 bytes a record of the pack at hand; and of the store 100 bytes a
// pack (1.6 MB a TiB), 32 MiB for the maps that were followed, 64 MiB of cached maps,
// and of damage at most 50,000 chunks and uses.
package heal
