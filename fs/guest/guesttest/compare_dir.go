package guesttest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"holdfast/fs/guest"
)

// compareDir compares a directory's names and walks down. Directories are
// compared once by listing, then each name by lookup.
func (c *comparison) compareDir(path string, dir guest.Node) {
	if c.full() {
		return
	}
	if path == "" {
		c.compareRoot(dir)
	}
	entries := c.list(path, dir, 0)
	c.compareResume(path, dir, entries)
	want := map[string]bool{}
	for _, name := range c.kernelNames(path) {
		want[name] = true
	}
	for _, e := range entries {
		sub := filepath.Join(path, e.Name)
		if !want[e.Name] {
			c.differ(sub, "not in the kernel's listing, or twice in ours")
			continue
		}
		delete(want, e.Name)
		if n, err := c.fs.Lookup(c.ctx, dir, e.Name); err != nil || n != e.Node {
			c.differ(sub, "lookup gives %d, %v; the listing says %d", n, err, e.Node)
			continue
		}
		if e.Type != 0 {
			if a, err := c.fs.Stat(c.ctx, e.Node); err == nil && a.Type != e.Type {
				c.differ(sub, "type %d in the listing, %d by stat", e.Type, a.Type)
			}
		}
		c.compareNode(sub, e.Node)
	}
	for name := range want {
		if c.Skip == nil || !c.Skip(filepath.Join(path, name)) {
			c.differ(filepath.Join(path, name), "missing")
		}
	}
	c.compareAbsent(path, dir)
}

// compareRoot compares the root's own attributes.
func (c *comparison) compareRoot(n guest.Node) {
	opt := c.Options
	c.Options.Skip = nil
	defer func() { c.Options = opt }()
	attr, err := c.fs.Stat(c.ctx, n)
	if err != nil || attr.Type != guest.Directory {
		c.differ("/", "stat: type %d, %v", attr.Type, err)
		return
	}
	st, err := statx(c.dir)
	if err != nil {
		c.differ("/", "the kernel's stat: %v", err)
		return
	}
	c.compareAttr(".", n, attr, st)
	c.compareXattrs(".", n)
}

// list reads a directory behind a cookie.
func (c *comparison) list(path string, dir guest.Node, cookie uint64) []guest.Entry {
	var all []guest.Entry
	err := c.fs.ReadDir(c.ctx, dir, cookie, func(e guest.Entry) bool {
		if e.Cookie == 0 || e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\x00") || e.Node == 0 {
			c.differ(path, "entry %+v", e)
		}
		all = append(all, e)
		return true
	})
	if err != nil {
		c.differ(path, "readdir: %v", err)
	}
	return all
}

// compareResume lists again, from behind entries at several places.
func (c *comparison) compareResume(path string, dir guest.Node, entries []guest.Entry) {
	for _, i := range []int{0, 1, len(entries) / 3, len(entries) - 2, len(entries) - 1} {
		if i < 0 || i >= len(entries) {
			continue
		}
		rest := c.list(path, dir, entries[i].Cookie)
		if len(rest) != len(entries)-i-1 {
			c.differ(path, "behind entry %d of %d come %d more", i, len(entries), len(rest))
			continue
		}
		for k, e := range rest {
			if e != entries[i+1+k] {
				c.differ(path, "behind entry %d: %+v, want %+v", i, e, entries[i+1+k])
				break
			}
		}
	}
	calls := 0
	if err := c.fs.ReadDir(c.ctx, dir, 0, func(guest.Entry) bool { calls++; return false }); err != nil || calls > 1 {
		c.differ(path, "a listing that is ended early goes on for %d calls, %v", calls, err)
	}
}

// compareAbsent looks up what is not there.
func (c *comparison) compareAbsent(path string, dir guest.Node) {
	for _, name := range []string{"no such name", strings.Repeat("q", 255), strings.Repeat("q", 256), "\xff\xfe"} {
		if n, err := c.fs.Lookup(c.ctx, dir, name); !errors.Is(err, guest.ErrNotExist) {
			c.differ(path, "lookup of %.30q gives %d, %v", name, n, err)
		}
	}
}

func (c *comparison) kernelNames(path string) []string {
	f, err := os.Open(filepath.Join(c.dir, path))
	if err != nil {
		c.differ(path, "the kernel's open: %v", err)
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		c.differ(path, "the kernel's readdir: %v", err)
	}
	return names
}
