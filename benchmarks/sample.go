package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const mb = 1e6

// Sample is one run of one contestant.
type Sample struct {
	Wall   time.Duration `json:"wall_ns"`
	CPU    time.Duration `json:"cpu_ns"`        // of the program, or of reader and daemon; 0: not measured
	Memory int64         `json:"peak_memory"`   // bytes, of the program or the daemon; 0: not measured
	Bytes  int64         `json:"bytes"`         // what the rate counts
	Ops    int           `json:"ops,omitempty"` // of small reads: the rate counts these
	P50    time.Duration `json:"p50_ns,omitempty"`
	P99    time.Duration `json:"p99_ns,omitempty"`
	Served int64         `json:"served_bytes,omitempty"` // that the daemon wrote, mostly to /dev/fuse
	// Refault are bytes of the page cache that somebody asked for again while it ran, after
	// the kernel had taken them back. Dropping the page cache on purpose does not count.
	Refault int64 `json:"refault_bytes,omitempty"`
}

// rate is what ratios compare: bytes, operations or runs per second.
func (s Sample) rate() float64 {
	switch {
	case s.Ops > 0:
		return float64(s.Ops) / s.Wall.Seconds()
	case s.Bytes > 0:
		return float64(s.Bytes) / s.Wall.Seconds()
	}
	return 1 / s.Wall.Seconds()
}

// command runs a program to its end and measures it.
func command(ctx context.Context, bytesDone int64, env []string, name string, args ...string) (Sample, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return Sample{}, err
	}
	peak := watchPeak(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		peak()
		return Sample{}, fmt.Errorf("%s %q: %w\n%s", name, args, err, tail(out.Bytes()))
	}
	s := Sample{Wall: time.Since(began), Bytes: bytesDone, Memory: peak()}
	s.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return s, nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// here measures what f does in this process and in those it starts and waits for.
func here(f func() (Sample, error)) (Sample, error) {
	before := ownCPU()
	s, err := f()
	s.CPU = ownCPU() - before
	return s, err
}

func ownCPU() (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if syscall.Getrusage(who, &ru) == nil {
			sum += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
		}
	}
	return sum
}

// refaulted is how many bytes of files were read again so far that the kernel had taken
// back; 0 where it does not count them.
func refaulted() int64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "\nworkingset_refault_file ")
	digits, _, _ := strings.Cut(rest, "\n")
	pages, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// dropCaches makes every following read cold.
func dropCaches() error {
	syscall.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("drop the page cache: %w", err)
	}
	return nil
}
