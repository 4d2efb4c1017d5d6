package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// watchPeak follows a program's peak memory until the function that it returns
// is called. The kernel's own figure at the end of a program (ru_maxrss) also
// counts this process, whose memory the program shares until it is executed.
func watchPeak(pid int) func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				peak <- most
				return
			case <-tick.C:
				most = max(most, peakMemory(pid))
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-peak
	}
}

// peakMemory is the most that a process has had resident since it was started
// or since forgetPeak; 0 when it is gone.
func peakMemory(pid int) int64 {
	return procNumber(pid, "status", "VmHWM") << 10
}

func forgetPeak(pid int) {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) //nolint:errcheck // then the peak is since the start
}

// servedBytes is what a process has written by system calls so far: for one that
// serves a mount, its answers to the kernel, and little else.
func servedBytes(pid int) int64 { return procNumber(pid, "io", "wchar") }

// procNumber is a number in one of a process's files of "name: number" lines.
func procNumber(pid int, file, name string) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), name+":"); ok {
			fmt.Sscan(rest, &n)
			return n
		}
	}
	return 0
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
