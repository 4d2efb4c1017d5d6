package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// runtimeTrace reads what a Go program with GODEBUG=gctrace=1,schedtrace=…,
// scheddetail=1 writes to standard error: the live heap behind each collection and
// every goroutine at each trace. All other lines go to others. One writer at a time.
type runtimeTrace struct {
	others io.Writer

	mu         sync.Mutex // guards what follows
	part       []byte     // of a line without its end
	heap       int        // MiB
	collected  int        // collections so far
	counting   int        // goroutines of the trace that is under way
	goroutines int        // of the last whole one
}

const goroutineDead = "6" // as the runtime numbers states

var (
	gcLine   = regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB, `)
	goLine   = regexp.MustCompile(`^  G\d+: status=(\d+)\(`)
	restLine = regexp.MustCompile(`^  [PM]\d+: `)
)

// Write implements io.Writer.
func (r *runtimeTrace) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part = append(r.part, p...)
	for {
		end := bytes.IndexByte(r.part, '\n')
		if end < 0 {
			return len(p), nil
		}
		r.line(r.part[:end+1])
		r.part = r.part[end+1:]
	}
}

func (r *runtimeTrace) line(b []byte) {
	if m := gcLine.FindSubmatch(b); m != nil {
		r.heap, _ = strconv.Atoi(string(m[1])) // digits
		r.collected++
		return
	}
	if m := goLine.FindSubmatch(b); m != nil {
		if string(m[1]) != goroutineDead {
			r.counting++
		}
		return
	}
	switch {
	case bytes.HasPrefix(b, []byte("SCHED ")): // a trace begins: the one before is whole
		if r.counting > 0 {
			r.goroutines = r.counting
		}
		r.counting = 0
	case !restLine.Match(b):
		r.others.Write(b) //nolint:errcheck // it is somebody's terminal
	}
}

func (r *runtimeTrace) now() (heapMiB, goroutines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heap, r.goroutines
}

// collections is how many there were.
func (r *runtimeTrace) collections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.collected
}

// sampleOf reads what a process has now.
func sampleOf(pid int, seen *runtimeTrace, at time.Duration) soakSample {
	heap, goroutines := seen.now()
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // a process that is gone has none
	return soakSample{
		Seconds: at.Round(time.Second).Seconds(), RSS: float64(procNumber(pid, "status", "VmRSS")) / 1024,
		Heap: float64(heap), Goroutines: float64(goroutines),
		Threads: float64(procNumber(pid, "status", "Threads")), Files: float64(len(files)), CPU: processCPU(pid).Seconds(),
	}
}
