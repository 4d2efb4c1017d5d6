package main

import (
	"os"
	"runtime"
	"runtime/debug"
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

// spreadThreads gives the FUSE server, restores and scrubs more threads than there are cores:
// the server's reading loop never blocks while requests queue, and would keep a core from
// the decoders until it is preempted (measured: p99 falls to a half or less). A
// restore's writes past the page cache take milliseconds each, and the runtime is
// slow to notice that a thread which waits for the disk leaves a core without work; a
// scrub's reads came a millisecond late each, as the cores were busy with proofs.
func spreadThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		spread.Do(func() { runtime.GOMAXPROCS(max(4, 2*runtime.GOMAXPROCS(0))) }) // of a container, its share of the cores
	}
}

var spread sync.Once
