// Package cache keeps decoded chunks in memory, bounded in bytes, for every
// reader of a store at once.
//
// A chunk is asked for by its id. The first to ask puts it in the queue of a
// pool of workers, by default as many as there are cores (a mount has more, as a
// load that waits for the disk keeps its worker); who asks meanwhile waits for
// the same load. Waiters obey their own contexts, the load obeys none of them:
// it ends when it ends, and is left out only when nobody waits for it any more
// before a worker took it. Errors are not cached: the next to ask tries again.
//
// Who waits for a chunk that no worker has taken yet loads it himself while fewer
// loads run than there are workers. His context ends only his own work: what did
// not come at once goes to a worker.
//
// # Parts
//
// A store with frames gives parts of a chunk. A part is loaded, kept and given up
// by itself, under the chunk's id and its own number; who wants a part and finds
// the whole chunk uses that, and the parts go when the whole chunk is there. A part
// that the store could not give alone becomes the whole chunk, and a part that
// failed is asked for as a whole, from Get, which heals.
//
// # What stays
//
// The policy is 2Q, because images are read from end to end and such a scan
// must not flush what is read again and again:
//
//	asked for first ──> fresh: first in, first out, a quarter when kept is full
//	                      │ leaves; its id is remembered for a while
//	   a stream went past ├> passed: first in, first out, a sixteenth
//	                      │ leaves; its id is remembered for a while
//	asked for again ──> kept: second chance (CLOCK)
//	prefetched ───────> ahead: at most a share of its own; asked for: goes to fresh
//
// Who reads a stream through the mount does not come back for what he has had: the
// kernel keeps it. What is passed goes first, so the buffers come round while they are
// in the processor's caches, and no fresh memory is faulted in: measured 21 % of the
// CPU time of a sequential read. Other streams close behind find it all the same, and
// what is asked for again after it left is kept.
//
// Touches while a chunk is fresh count for nothing: sixteen reads of 4 KiB are
// one use of a 64 KiB chunk.
//
// # Memory
//
// Buffers come from size classes with room for pack.Slack behind the plain
// bytes, and are charged with what the allocator takes for them plus the
// bookkeeping. A load reserves its bytes before it starts. An eighth of Bytes is for
// buffers between two chunks. What is charged and what waits is at most
//
//	Bytes + (what callers hold and the workers load, where that
//	         alone exceeds the budget of its shard)
//
// because a chunk that somebody holds can't be given up; when it is released
// the excess goes at once. A chunk that waits for a worker has no buffer.
package cache
