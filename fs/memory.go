package fs

import (
	"bytes"
	"os"
	"strconv"
)

// availableMemory is what the kernel says that programs can have without swapping, in
// bytes; 0 where it does not say. See proc_meminfo(5), MemAvailable.
func availableMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(b, []byte("\nMemAvailable:"))
	line, _, _ := bytes.Cut(after, []byte("kB\n"))
	kib, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil || kib < 0 || kib > 1<<50 {
		return 0
	}
	return kib << 10
}
