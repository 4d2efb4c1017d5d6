package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/fs/guest"
	"holdfast/fs/guest/guesttest"
)

// proto is a tree that mkfs.xfs makes by itself: today's kernels don't mount
// version 4, nor names without regard to case.
type proto struct {
	dir   string
	lines []string
	want  map[string]protoFile
}

type protoFile struct {
	attr    guest.Attr // Type, Perm, UID, GID, Rdev
	content string     // or the target
}

// newProto makes directories of each form, large and small files, links and
// devices. A long link is only for version 4: mkfs.xfs 6.1 leaves out the
// header that version 5 wants.
func newProto(t *testing.T, longLink bool) *proto {
	p := &proto{dir: t.TempDir(), lines: []string{"/stand/none", "0 0", "d--755 0 0"}, want: map[string]protoFile{}}
	small, large := "hello", strings.Repeat("0123456789abcdef", 20_000)
	p.file(t, "small", small)
	p.file(t, "large", large)
	for _, d := range []struct {
		name  string
		count int
	}{{"empty", 0}, {"short", 3}, {"block", 15}, {"leaf", 300}, {"node", 4000}} {
		p.add(d.name, "d--750 7 8", guest.Attr{Type: guest.Directory, Perm: 0o750, UID: 7, GID: 8}, "")
		for i := range d.count {
			p.in(d.name, fmt.Sprintf("Name-%06d", i), "---644 0 0 "+p.dir+"/small", guest.Attr{Type: guest.Regular, Perm: 0o644}, small)
		}
		p.lines = append(p.lines, "$")
	}
	target := strings.Repeat("target/", 140)
	p.add("large", "-u-600 1000 70000 "+p.dir+"/large", guest.Attr{Type: guest.Regular, Perm: 0o4600, UID: 1000, GID: 70000}, large)
	p.add("char", "c--620 0 0 5 7", guest.Attr{Type: guest.CharDevice, Perm: 0o620, Rdev: 5<<8 | 7}, "")
	p.add("blk", "b--620 0 0 300 700", guest.Attr{Type: guest.BlockDevice, Perm: 0o620, Rdev: 300<<8 | 700&0xff | 700>>8<<20}, "")
	p.add("pipe", "p--600 0 0", guest.Attr{Type: guest.FIFO, Perm: 0o600}, "")
	p.add("link", "l--777 0 0 to/short", guest.Attr{Type: guest.Symlink, Perm: 0o777}, "to/short")
	if longLink {
		p.add("long-link", "l--777 0 0 "+target, guest.Attr{Type: guest.Symlink, Perm: 0o777}, target)
	}
	p.file(t, "proto", strings.Join(append(p.lines, "$", ""), "\n"))
	return p
}

func (p *proto) file(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *proto) add(name, line string, attr guest.Attr, content string) {
	p.in("", name, line, attr, content)
}

func (p *proto) in(dir, name, line string, attr guest.Attr, content string) {
	p.lines = append(p.lines, name+" "+line)
	p.want[filepath.Join(dir, name)] = protoFile{attr, content}
}

// list gives all paths beneath a directory.
func list(t *testing.T, fs guest.Filesystem, path string, dir guest.Node) map[string]guest.Node {
	t.Helper()
	all := map[string]guest.Node{}
	err := fs.ReadDir(t.Context(), dir, 0, func(e guest.Entry) bool {
		sub := filepath.Join(path, e.Name)
		all[sub] = e.Node
		if n, err := fs.Lookup(t.Context(), dir, e.Name); err != nil || n != e.Node {
			t.Errorf("lookup of %s: %d, %v; want %d", sub, n, err, e.Node)
		}
		if a, err := fs.Stat(t.Context(), e.Node); err != nil || e.Type != 0 && a.Type != e.Type {
			t.Errorf("%s: type %d, %v; listed as %d", sub, a.Type, err, e.Type)
		} else if a.Type == guest.Directory {
			for path, n := range list(t, fs, sub, e.Node) {
				all[path] = n
			}
		}
		return true
	})
	if err != nil {
		t.Errorf("list %s: %v", path, err)
	}
	return all
}

func (p *proto) compare(t *testing.T, fs guest.Filesystem) {
	t.Helper()
	got := list(t, fs, "", fs.Root())
	if len(got) != len(p.want) {
		t.Errorf("%d files, want %d", len(got), len(p.want))
	}
	for path, want := range p.want {
		a, err := fs.Stat(t.Context(), got[path])
		if err != nil || a.Type != want.attr.Type || a.Perm != want.attr.Perm || a.UID != want.attr.UID || a.GID != want.attr.GID || a.Rdev != want.attr.Rdev {
			t.Fatalf("%s: %+v, %v; want %+v", path, a, err, want.attr)
		}
		content := ""
		switch a.Type {
		case guest.Regular:
			b := make([]byte, a.Size+1)
			n, err := fs.ReadAt(t.Context(), a.Node, b, 0)
			if content = string(b[:n]); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", path, err)
			}
		case guest.Symlink:
			if content, err = fs.Readlink(t.Context(), a.Node); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if content != want.content {
			t.Errorf("%s: content differs, %d bytes, want %d", path, len(content), len(want.content))
		}
	}
}

func TestVersion4(t *testing.T) {
	for _, options := range [][]string{
		{"-m", "crc=0", "-b", "size=1k"},
		{"-m", "crc=0", "-b", "size=512", "-n", "ftype=0", "-i", "size=256"},
		{"-m", "crc=0", "-n", "size=16k,ftype=0", "-l", "version=1", "-i", "size=512"},
		{"-m", "crc=0", "-n", "version=ci", "-d", "agcount=3"},
		{"-n", "version=ci", "-d", "agcount=3"},
		{"-b", "size=1k"},
	} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			t.Parallel()
			p := newProto(t, slices.Contains(options, "crc=0"))
			image := guesttest.Mkfs(t, 200<<20, mkfs(append(options, "-p", filepath.Join(p.dir, "proto"))...)...)
			// In this order: xfs_db 6.1 crashes when a short one comes first.
			for _, set := range []string{"attr_set -v 30000 big", "attr_set -v 200 two", "attr_set -r -v 900 two"} {
				guesttest.Run(t, "xfs_db", "-x", "-c", "path /large", "-c", set, image)
			}
			fs := guesttest.OpenImage(t, image, open)
			if st := fs.State(); st.Health != guest.Clean || st.Reason != "" {
				t.Errorf("state %+v", st)
			}
			p.compare(t, fs)
			compareFree(t, fs, image)
			compareSetXattrs(t, fs)
			foldCase := slices.Contains(options, "version=ci")
			n, err := fs.Lookup(t.Context(), lookup(t, fs, fs.Root(), "node"), "nAME-001234")
			if foldCase != (err == nil) || foldCase && n != lookup(t, fs, lookup(t, fs, fs.Root(), "node"), "Name-001234") {
				t.Errorf("a name in another case: %d, %v", n, err)
			}
		})
	}
}

func lookup(t *testing.T, fs guest.Filesystem, dir guest.Node, name string) guest.Node {
	t.Helper()
	n, err := fs.Lookup(t.Context(), dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// compareSetXattrs looks for what xfs_db has set: values that are all v.
func compareSetXattrs(t *testing.T, fs guest.Filesystem) {
	t.Helper()
	got, err := fs.Xattrs(t.Context(), lookup(t, fs, fs.Root(), "large"))
	if err != nil || len(got) != 3 {
		t.Errorf("%d xattrs, %v", len(got), err)
	}
	for name, length := range map[string]int{"user.two": 200, "user.big": 30000, "trusted.two": 900} {
		if v := got[name]; len(v) != length || !bytes.Equal(v, bytes.Repeat([]byte("v"), length)) {
			t.Errorf("xattr %s: %d bytes", name, len(v))
		}
	}
}

// TestFlushCount is the rule for inodes before version 3: a log's inode is
// older when its count of flushes is, but for the wrap.
func TestFlushCount(t *testing.T) {
	var f FS
	for _, c := range []struct {
		disk, logged uint16
		newer        bool
	}{{0, 0, false}, {5, 5, false}, {5, 4, true}, {5, 6, false}, {0xffff, 0, false}, {0xffff, 0x7ffe, false}, {0xffff, 0x7fff, true}, {0xfffe, 0, true}} {
		b, core := make([]byte, 256), make([]byte, coreLen)
		be.PutUint16(b, inodeMagic)
		be.PutUint16(b[inodeFlush:], c.disk)
		le.PutUint16(core[inodeFlush:], c.logged)
		if got := f.newerInode(b, core, 1); got != c.newer {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
