package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// programRange is where a part of the program's file lies in memory, and how much of it is
// mapped.
type programRange struct {
	from, to uintptr
	kib, rss int
	anon     int // KiB that are no longer the file's
	code     bool
}

// programRanges reads the parts with code and constants from /proc/self/smaps.
func programRanges(t *testing.T) (all []programRange) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line); {
		case len(f) >= 6 && strings.Contains(f[0], "-"):
			if ours = f[5] == exe && strings.HasPrefix(f[1], "r-"); ours {
				r := programRange{code: strings.Contains(f[1], "x")}
				fmt.Sscanf(f[0], "%x-%x", &r.from, &r.to)
				all = append(all, r)
			}
		case !ours:
		case f[0] == "Size:":
			fmt.Sscan(f[1], &all[len(all)-1].kib)
		case f[0] == "Rss:":
			fmt.Sscan(f[1], &all[len(all)-1].rss)
		case f[0] == "Anonymous:":
			fmt.Sscan(f[1], &all[len(all)-1].anon)
		}
	}
	if len(all) < 2 {
		t.Fatalf("%d ranges of the program were found, want its code and its constants", len(all))
	}
	return all
}

// All that the program's file holds of code and constants is mapped: each such range is
// resident as a whole, also where the kernel was told before to forget what it has mapped.
func TestProgramIsMapped(t *testing.T) {
	lacks := func() (ranges []programRange) {
		return slices.DeleteFunc(programRanges(t), func(r programRange) bool { return r.rss == r.kib })
	}
	for _, r := range programRanges(t) {
		if r.anon > 0 {
			continue // the linker's table of C functions, under -race: nobody would write it anew
		}
		if _, _, err := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); err != 0 {
			t.Fatal(err)
		}
	}
	if len(lacks()) == 0 {
		t.Fatal("all of the program is mapped anyway: this test tells nothing")
	}
	var left []programRange
	for range 10 { // a kernel that reclaims what is cold (DAMON) may have taken some again
		if err := mapProgram(); err != nil {
			t.Fatal(err)
		}
		if left = lacks(); len(left) == 0 {
			return
		}
	}
	for _, r := range left {
		t.Errorf("%d KiB of a range of %d are mapped (code: %v)", r.rss, r.kib, r.code)
	}
}
