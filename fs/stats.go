package fs

import (
	"sync/atomic"

	"holdfast/chunkstore/cache"
)

// counters are what a tree counts; each is touched by many requests at once.
type counters struct {
	lookups, getattrs, listings, opens, seeks atomic.Int64
	reads, readBytes, failedReads             atomic.Int64
	pushed, pushDropped, filesAhead, filled   atomic.Int64
	panics                                    atomic.Int64
}

// readers counts what only those ask who read: what a program that merely looks whether
// the mount is there does not.
func (c *counters) readers() int64 { return c.reads.Load() + c.seeks.Load() + c.listings.Load() }

// Stats says what the kernel asked of a mount and what answering it took.
type Stats struct {
	Lookups     int64 // LOOKUP requests
	Getattrs    int64 // GETATTR requests
	Listings    int64 // directories listed
	Opens       int64 // images opened
	Seeks       int64 // SEEK_HOLE and SEEK_DATA
	Reads       int64 // READ requests of images
	ReadBytes   int64 // bytes answered to them
	FailedReads int64 // READ requests that ended in an error
	Pushed      int64 // bytes put into the page cache unasked
	PushDropped int64 // pushes left out because too many waited
	FilesAhead  int64 // guests' files read before they were opened
	Filled      int64 // bytes of images put into the page cache when nobody read
	Panics      int64 // handlers that panicked: each is a bug
	Cache       cache.Stats
}

func (t *tree) stats() Stats {
	c := &t.count
	return Stats{
		Lookups: c.lookups.Load(), Getattrs: c.getattrs.Load(), Listings: c.listings.Load(),
		Opens: c.opens.Load(), Seeks: c.seeks.Load(),
		Reads: c.reads.Load(), ReadBytes: c.readBytes.Load(), FailedReads: c.failedReads.Load(),
		Pushed: c.pushed.Load(), PushDropped: c.pushDropped.Load(), FilesAhead: c.filesAhead.Load(),
		Filled: c.filled.Load(), Panics: c.panics.Load(),
		Cache: t.chunks.Stats(),
	}
}
