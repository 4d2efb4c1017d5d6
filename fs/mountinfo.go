package fs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// fsType is what the kernel calls our mounts.
const fsType = "fuse.holdfast"

// sourceOf is what stands in the first column of mount(8) for a store.
func sourceOf(storeID string) string { return "holdfast:" + storeID }

// mountEntry is a line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type mountEntry struct {
	dev    string // major:minor
	point  string
	fsType string
	source string
}

// mounts reads the mount table, oldest mount first. It touches no mount.
func mounts() ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	defer f.Close()
	return parseMounts(f)
}

func parseMounts(r io.Reader) (list []mountEntry, err error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		// id parent dev root point options [tags...] - type source superoptions
		before, after, ok := strings.Cut(sc.Text(), " - ")
		left, right := strings.Fields(before), strings.SplitN(after, " ", 3)
		if !ok || len(left) < 6 || len(right) < 2 {
			continue
		}
		list = append(list, mountEntry{dev: left[2], point: unoctal(left[4]), fsType: right[0], source: unoctal(right[1])})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	return list, nil
}

// unoctal undoes the kernel's \ooo for blanks and backslashes.
func unoctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }

// topMount returns the mount that is visible at a path, the last one made.
func topMount(dir string) (top mountEntry, ok bool, err error) {
	list, err := mounts()
	for _, m := range list {
		if m.point == dir {
			top, ok = m, true
		}
	}
	return top, ok, err
}

// FindMount returns where a store is mounted on this machine, by any process
// of it that is alive. A mount hidden below another one does not count.
func FindMount(storeID string) (mnt string, ok bool) {
	list, err := mounts()
	if err != nil {
		return "", false
	}
	visible := map[string]mountEntry{}
	for _, m := range list {
		visible[m.point] = m
	}
	for _, m := range list {
		if m.fsType == fsType && m.source == sourceOf(storeID) && visible[m.point] == m && alive(m.point) {
			return m.point, true
		}
	}
	return "", false
}

// alive reports whether somebody answers for the FUSE mount at dir. It must not
// be asked of a mount of this very process from one of its handlers.
func alive(dir string) bool {
	var st unix.Statfs_t
	for {
		switch err := unix.Statfs(dir, &st); err {
		case nil, unix.EACCES, unix.EPERM:
			return true
		case unix.EINTR:
		default:
			return false
		}
	}
}
