package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// All that the program's file holds of code and constants is mapped: each such range of
// /proc/self/smaps is resident as a whole.
func TestProgramIsMapped(t *testing.T) {
	if err := mapProgram(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ranges, ours, size := 0, false, 0
	for line := range strings.Lines(string(b)) {
		var kib int
		switch f := strings.Fields(line); {
		case len(f) >= 6 && strings.Contains(f[0], "-"):
			ours = f[5] == exe && strings.HasPrefix(f[1], "r-")
		case !ours:
		case f[0] == "Size:":
			fmt.Sscan(f[1], &size)
		case f[0] == "Rss:":
			if fmt.Sscan(f[1], &kib); kib != size {
				t.Errorf("%d KiB of a range of %d are mapped", kib, size)
			}
			ranges++
		}
	}
	if ranges < 2 {
		t.Errorf("%d ranges of the program were found, want its code and its constants", ranges)
	}
}
