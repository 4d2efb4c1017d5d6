package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	restLooks = 2 * time.Second // between two looks whether anybody reads
	restEvery = time.Minute     // between two times that memory is given back, at the least
)

// resting tells when a mount has come to rest: nobody has read between two looks, and
// somebody had since memory was last given back. The zero value has seen nobody.
// Not safe for concurrent use.
type resting struct {
	seen  int64 // requests of readers at the last look
	kept  bool  // what they left may lie about
	since time.Time
}

// look takes in how many requests of readers there were by now, and reports whether
// memory is to be given back.
func (r *resting) look(now time.Time, readers int64) bool {
	if readers != r.seen {
		r.seen, r.kept = readers, true
		return false
	}
	if !r.kept || now.Sub(r.since) < restEvery {
		return false
	}
	r.kept, r.since = false, now
	return true
}

// giveBackAtRest gives memory back each time that nobody reads any more, until done is
// closed, unless the environment says how garbage is collected. The runtime keeps what a
// collection freed for who allocates next, a tenth of the heap and more, and collects
// what the last readers left after two minutes.
func giveBackAtRest(done <-chan struct{}, readers func() int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	t := time.NewTicker(restLooks)
	defer t.Stop()
	for r := (resting{}); ; {
		select {
		case <-done:
			return
		case now := <-t.C:
			if r.look(now, readers()) {
				giveBack()
			}
		}
	}
}

// giveBack gives the system all memory that nothing lives in. Pools are emptied by the
// second collection.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}
