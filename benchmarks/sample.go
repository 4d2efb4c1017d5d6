package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Sample is one run of one contestant.
type Sample struct {
	Wall   time.Duration `json:"wall_ns"`
	CPU    time.Duration `json:"cpu_ns"`        // 0: not measured
	Memory int64         `json:"peak_memory"`   // bytes; 0: not measured
	Bytes  int64         `json:"bytes"`         // what the rate counts
	Ops    int           `json:"ops,omitempty"` // of random reads
	P50    time.Duration `json:"p50_ns,omitempty"`
	P99    time.Duration `json:"p99_ns,omitempty"`
}

// rate is what ratios compare: bytes, or operations, per second.
func (s Sample) rate() float64 {
	if s.Ops > 0 {
		return float64(s.Ops) / s.Wall.Seconds()
	}
	return float64(s.Bytes) / s.Wall.Seconds()
}

// command runs a program to its end and measures it.
func command(ctx context.Context, bytesDone int64, env []string, name string, args ...string) (Sample, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return Sample{}, fmt.Errorf("%s %q: %w\n%s", name, args, err, tail(out.Bytes()))
	}
	s := Sample{Wall: time.Since(began), Bytes: bytesDone, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.Memory = ru.Maxrss * 1024
	}
	return s, nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// dropCaches makes every following read cold.
func dropCaches() error {
	syscall.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("drop the page cache: %w", err)
	}
	return nil
}

// processCPU returns the CPU time that a running process has used.
func processCPU(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The fields behind the command's name, which may hold blanks.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	var ticks int64
	for _, i := range []int{11, 12} { // utime, stime
		var n int64
		fmt.Sscan(string(f[i]), &n)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}
