package files

import (
	"path"
	"slices"
	"strings"
)

// Bounds of a guest's fstab.
const (
	maxTable = 256 << 10
	maxLines = 512
)

// line is one of a guest's fstab, fstab(5).
type line struct {
	source, dir, kind string
	options           []string
}

// parseTable reads an fstab. What is no line is left out.
func parseTable(text string) (lines []line) {
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || len(lines) == maxLines {
			continue
		}
		f = append(f, "auto", "defaults")
		if len(f) == 4 { // neither type nor options
			f = append(f[:2], "auto", "defaults")
		} else if len(f) == 5 {
			f = append(f[:3], "defaults")
		}
		lines = append(lines, line{unescape(f[0]), unescape(f[1]), f[2], strings.Split(f[3], ",")})
	}
	return lines
}

// unescape undoes fstab's \040 for characters that would end a field.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) && s[i+1] < '4' {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

func (l line) has(option string) bool { return slices.Contains(l.options, option) }

// option returns the value of an option NAME=VALUE.
func (l line) option(name string) (value string, ok bool) {
	for _, o := range l.options {
		if v, found := strings.CutPrefix(o, name+"="); found {
			value, ok = strings.Trim(v, `"`), true
		}
	}
	return value, ok
}

// kernelTypes are filesystems that lie on no disk.
var kernelTypes = []string{
	"swap", "none", "ignore", "proc", "sysfs", "tmpfs", "ramfs", "devtmpfs", "devpts", "mqueue", "hugetlbfs", "cgroup",
	"cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "fusectl", "binfmt_misc", "efivarfs", "bpf", "pstore",
	"rpc_pipefs", "nfsd", "usbfs", "selinuxfs", "autofs",
}

// networkTypes are filesystems of other machines.
var networkTypes = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "sshfs", "fuse.sshfs", "ceph", "glusterfs", "9p", "virtiofs", "afs", "davfs", "lustre", "ocfs2", "gfs2"}

// bind tells whether the line shows a directory at a second place.
func (l line) bind() bool { return l.has("bind") || l.has("rbind") }

// onDisk tells whether the line mounts something that could lie on a disk; why
// is the reason where it does not and a person might look for it.
func (l line) onDisk() (ok bool, why string) {
	switch {
	case !strings.HasPrefix(l.dir, "/"), l.has("bind") && !strings.HasPrefix(l.source, "/"):
		return false, ""
	case l.bind():
	case slices.Contains(networkTypes, l.kind):
		return false, "a filesystem of another machine (" + l.kind + ")"
	case slices.Contains(kernelTypes, l.kind):
		return false, ""
	case l.kind == "overlay" || strings.HasPrefix(l.kind, "fuse"):
		return false, "the guest makes it up (" + l.kind + ")"
	}
	if l.has("noauto") && !l.has("x-systemd.automount") {
		return false, "mounted on demand only (noauto)"
	}
	return true, ""
}

// inOrder puts lines in the order in which they can be done: as they stand, but
// each behind those above its directory, and above what it binds.
func inOrder(lines []line) (order []line) {
	seen := make([]bool, len(lines))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return // done, or each waits for the other
		}
		seen[i] = true
		for j := range lines {
			if below(lines[i].dir, lines[j].dir) || lines[i].bind() && within(lines[i].source, lines[j].dir) {
				visit(j)
			}
		}
		order = append(order, lines[i])
	}
	for i := range lines {
		visit(i)
	}
	return order
}

// within tells whether a path is a directory or lies below it.
func within(p, dir string) bool { return path.Clean(p) == path.Clean(dir) || below(p, dir) }

func below(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return p != dir && strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
