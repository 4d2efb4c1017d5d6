package fs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holder is somebody who keeps a mount busy.
type Holder struct {
	PID     int    // 0: the kernel itself
	Command string // of the process
	How     string // "open", "cwd", "root", "program", "mapped", "loop device /dev/loop0", "mount"
	Path    string
}

func (h Holder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("%s (%s)", h.How, h.Path)
	}
	return fmt.Sprintf("%s[%d] (%s %s)", h.Command, h.PID, h.How, h.Path)
}

// maxHolders bounds a list of holders.
const maxHolders = 100

// holders lists who keeps the mount at dir busy, as far as this process may
// see. It reads /proc and /sys only and never touches the mount, which this
// process itself answers for.
func holders(dir, dev string) (list []Holder) {
	inside := func(path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	list = append(list, loopHolders(inside)...)
	list = append(list, mountHolders(dir, inside)...)
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		if pid, err := strconv.Atoi(p.Name()); err == nil && len(list) < maxHolders {
			list = append(list, processHolds(pid, dev, inside)...)
		}
	}
	return list[:min(len(list), maxHolders)]
}

// loopHolders lists loop devices over files of the mount.
func loopHolders(inside func(string) bool) (list []Holder) {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if path := strings.TrimSuffix(string(b), "\n"); err == nil && inside(path) {
			name := filepath.Base(filepath.Dir(filepath.Dir(f)))
			list = append(list, Holder{How: "loop device /dev/" + name, Path: path})
		}
	}
	return list
}

// mountHolders lists what is mounted inside the mount.
func mountHolders(dir string, inside func(string) bool) (list []Holder) {
	all, _ := mounts()
	for _, m := range all {
		if m.point != dir && inside(m.point) {
			list = append(list, Holder{How: "mount", Path: m.point})
		}
	}
	return list
}

// processHolds lists what a process holds, each path once.
func processHolds(pid int, dev string, inside func(string) bool) (list []Holder) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	seen := map[string]bool{}
	add := func(how, path string) {
		if seen[path] || !inside(path) {
			return
		}
		seen[path] = true
		if len(list) < maxHolders {
			list = append(list, Holder{PID: pid, Command: commandOf(proc), How: how, Path: path})
		}
	}
	for how, link := range map[string]string{"cwd": "cwd", "root": "root", "program": "exe"} {
		if path, err := os.Readlink(filepath.Join(proc, link)); err == nil {
			add(how, path)
		}
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil {
			add("open", path)
		}
	}
	for _, path := range mappedFiles(proc, dev) {
		add("mapped", path)
	}
	return list
}

func commandOf(proc string) string {
	b, _ := os.ReadFile(filepath.Join(proc, "comm"))
	return strings.TrimSpace(string(b))
}

// mappedFiles lists the files of device dev that a process has mapped, see
// proc_pid_maps(5).
func mappedFiles(proc, dev string) (paths []string) {
	major, minor, err := splitDev(dev)
	if err != nil {
		return nil
	}
	f, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return nil
	}
	defer f.Close()
	want := fmt.Sprintf("%02x:%02x", major, minor)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// range permissions offset device inode path
		if w := strings.Fields(sc.Text()); len(w) >= 6 && w[3] == want {
			paths = append(paths, strings.Join(w[5:], " "))
		}
	}
	return paths
}
