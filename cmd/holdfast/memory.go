package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// captureMemory is below the 256 MiB that a capture promises to take, because
// the limit is a soft one and counts the program's own text as well.
const captureMemory = 224 << 20

// limitMemory makes the garbage collector work harder near a limit, unless the
// environment says another.
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}

// spreadThreads gives the FUSE server, captures, restores and scrubs more threads than there are cores:
// the server's reading loop never blocks while requests queue, and would keep a core from
// the decoders until it is preempted (measured: p99 falls to a half or less). A
// restore's writes past the page cache take milliseconds each, and the runtime is
// slow to notice that a thread which waits for the disk leaves a core without work; a
// scrub's reads came a millisecond late each, as the cores were busy with proofs; a first
// capture left 0.4 of 2 cores idle.
func spreadThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		spread.Do(func() { runtime.GOMAXPROCS(max(4, 2*runtime.GOMAXPROCS(0))) }) // of a container, its share of the cores
	}
}

var spread sync.Once

const (
	// mountGarbage is what a mount lets lie until it is collected. Nearly all that lives in
	// one is buffers, in which the collector has nothing to look at: a collection is
	// cheap, and by the runtime's own measure as much again as lives would lie about.
	mountGarbage = 32 << 20
	// captureGarbage is what a capture lets lie. Nearly all that lives in one is buffers, too:
	// with two cores 60 MiB, and 65 in a store of 50 million chunks. By the runtime's own measure
	// the last collection came in the first tenth of it, and what was not collected since
	// made the peak: in a large store more, as the index's cache lets go of blocks.
	captureGarbage = 16 << 20

	leastPercent  = 10 // of what lives: so that much of it is not looked through all the time
	normalPercent = 100
)

// collectEarly makes the collector run when about so many bytes of garbage lie about,
// whatever lives, unless the environment says something else. It is for the rest of the
// process's life, and only its first call counts.
func collectEarly(garbage uint64) {
	if os.Getenv("GOGC") == "" {
		early.Do(func() { paceCollector(garbage, debug.SetGCPercent) })
	}
}

var early sync.Once

// paceCollector sets what may lie about, in percent of what lives, after each collection.
func paceCollector(garbage uint64, set func(percent int) int) {
	type witness struct{ _ *int } // a pointer, or it would share its memory with others
	was := normalPercent
	var next func(struct{})
	next = func(struct{}) {
		if p := percentOf(garbage, liveHeap()); p != was { // the world is stopped to set it
			set(p)
			was = p
		}
		runtime.AddCleanup(new(witness), next, struct{}{})
	}
	next(struct{}{})
}

// percentOf is garbage in percent of live, where that is neither too little nor more than
// anybody else has.
func percentOf(garbage, live uint64) int {
	return int(min(max(100*garbage/max(live, 1), leastPercent), normalPercent))
}

// liveHeap is what the last collection found in use.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0 // a runtime that does not know it
	}
	return s[0].Value.Uint64()
}
