// Package capture makes a version: it reads the disks of a VM, cuts them into
// chunks, hashes, looks up, compresses and puts what is new, and commits.
//
//	early         look for the guest's files while the store is opened
//	loader 1..m   take the next region, in order, and a free buffer: extents -> read
//	worker 1..n   take what was read: cut -> hash -> same as before? -> have? -> compress -> put;
//	              the buffer is free again
//	collector     region maps, in order -> disk map
//	at the end    version manifest -> commit
//
// A region whose bytes are all holes of the source is never read. A chunk that
// the previous version of the disk has at the same place needs no look-up. A
// capture that fails or is stopped leaves no version; the chunks that it put
// are found by the next try.
//
// Memory: there are as many buffers of one region (4 MiB) as workers, and each worker has
// one batch of records (1 MiB); at most maxWorkers run, whatever the machine. With the store's own
// (52 MiB for the index) that stays under 256 MiB.
package capture
