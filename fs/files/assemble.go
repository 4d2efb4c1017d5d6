package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"

	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
)

const tableName = "/etc/fstab"

// maxSearched is how many volumes are searched for a root: each is opened.
const maxSearched = 64

// subvolumeNames are where distributions put the root into a btrfs.
var subvolumeNames = []string{"", "@", "@rootfs", "root", "@root", "rootfs"}

// candidate is a volume, or a part of it, that looks like a guest's root.
type candidate struct {
	vol   *Volume
	root  guest.Node
	sub   string // directory of the volume that is the root
	lines []line
	own   line // for "/"
}

// assemble puts the guest's namespace together. Where there is no root, the
// Space is empty. The error is that of the store or of ctx, never the guest's.
func assemble(ctx context.Context, f *Found) (*Space, error) {
	found, err := candidates(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return drives(ctx, f)
	}
	best := 0
	if i := slices.IndexFunc(found, func(c candidate) bool { return c.own.source != "" && f.find(c.own.source) == c.vol }); i >= 0 {
		best = i
	}
	root := found[best]
	s := &Space{System: Linux, covered: map[Place]int{}}
	for i, c := range found {
		if i != best {
			s.note("%s/%s%s has an %s too", c.vol.Disk(), c.vol.Name, slashed(c.sub), tableName)
		}
	}
	s.add(Mount{Path: "/", Source: root.own.source}, root.vol)
	s.mounts = append(s.mounts, mounted{root.vol, root.root})
	for _, l := range inOrder(root.lines) {
		if err := s.mount(ctx, f, l); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func slashed(sub string) string {
	if sub == "" {
		return ""
	}
	return "/" + sub
}

// candidates looks for an fstab in every volume.
func candidates(ctx context.Context, f *Found) (list []candidate, err error) {
	for _, v := range f.Volumes[:min(len(f.Volumes), maxSearched)] {
		names := subvolumeNames[:1]
		if v.Type == "btrfs" {
			names = subvolumeNames
		}
		for _, sub := range names {
			c, err := candidateIn(ctx, v, sub)
			if ours(ctx, err) {
				return nil, err
			}
			if err == nil {
				list = append(list, c)
				break
			}
		}
	}
	return list, nil
}

// ours tells whether an error is not the guest's doing: it must not be kept as
// «there is no such file».
func ours(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return err != nil
	}
	var damage *pack.Damage
	if errors.As(err, &damage) { // a volume that is hurt must not hide the others
		return damage.Kind == pack.Unreadable
	}
	var errno syscall.Errno
	for _, e := range []error{guest.ErrNotExist, guest.ErrCorrupt, guest.ErrUnsupported, guest.ErrNotMine, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return false
		}
	}
	return !errors.As(err, &errno)
}

func candidateIn(ctx context.Context, v *Volume, sub string) (c candidate, err error) {
	s, err := Single(ctx, v)
	if err != nil {
		return c, err
	}
	if sub != "" {
		if s.mounts[0].root, err = subvolume(ctx, v, sub); err != nil {
			return c, err
		}
	}
	text, err := s.text(ctx, tableName, maxTable)
	if err != nil {
		return c, err
	}
	c = candidate{vol: v, root: s.mounts[0].root, sub: sub, lines: parseTable(text)}
	for _, l := range c.lines {
		if l.dir == "/" {
			c.own = l
		}
	}
	return c, c.atSubvolume(ctx)
}

// atSubvolume moves the root to the subvolume that fstab names for it, when it
// is there.
func (c *candidate) atSubvolume(ctx context.Context) error {
	sub, ok := c.own.option("subvol")
	sub = strings.Trim(sub, "/")
	if !ok || c.vol.Type != "btrfs" || sub == "" || sub == c.sub {
		return nil
	}
	n, err := subvolume(ctx, c.vol, sub)
	if err == nil {
		c.root, c.sub = n, sub
	} else if ours(ctx, err) {
		return err
	}
	return nil
}

// btrfsTop is the directory of a btrfs's top level, whatever its default is.
const btrfsTop = guest.Node(256)

// subvolume finds a directory of a btrfs by its path from the top level.
func subvolume(ctx context.Context, v *Volume, sub string) (guest.Node, error) {
	s, err := Single(ctx, v)
	if err != nil {
		return 0, err
	}
	if a, err := s.Stat(ctx, Place{0, btrfsTop}); v.Type == "btrfs" && err == nil && a.Type == guest.Directory {
		s.mounts[0].root = btrfsTop
	}
	p, err := s.Resolve(ctx, sub, false)
	return p.Node, err
}

// text reads a small file of the guest, links followed.
func (s *Space) text(ctx context.Context, name string, limit int) (string, error) {
	p, err := s.Resolve(ctx, name, true)
	if err != nil {
		return "", err
	}
	fs, err := s.Open(ctx, p)
	if err != nil {
		return "", err
	}
	a, err := fs.Stat(ctx, p.Node)
	if err != nil {
		return "", err
	}
	if a.Type != guest.Regular {
		return "", guest.Corrupt("%s is no file", name)
	}
	b := make([]byte, min(max(a.Size, 0), int64(limit)))
	n, err := fs.ReadAt(ctx, p.Node, b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(b[:n]), err
}

func (s *Space) add(m Mount, v *Volume) {
	s.Mounts, s.shown = append(s.Mounts, m), append(s.shown, v)
}

func (s *Space) note(format string, args ...any) {
	if len(s.Notes) < 64 {
		s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
	}
}

// mount does what a line of fstab says, or notes why not.
func (s *Space) mount(ctx context.Context, f *Found, l line) error {
	ok, why := l.onDisk()
	m := Mount{Path: path.Clean(l.dir), Source: l.source, Problem: why}
	if !ok || m.Path == "/" {
		if why != "" && m.Path != "/" {
			s.add(m, nil)
		}
		return nil
	}
	from, err := s.source(ctx, f, l)
	if err == nil {
		err = s.cover(ctx, m.Path, from)
	}
	if ours(ctx, err) {
		return err
	}
	if err != nil {
		m.Problem = err.Error()
	}
	s.add(m, from.vol)
	return nil
}

var errNoVolume = fmt.Errorf("no volume of this version is that: %w", guest.ErrNotExist)

// source finds what a line mounts.
func (s *Space) source(ctx context.Context, f *Found, l line) (mounted, error) {
	if l.bind() {
		p, err := s.Resolve(ctx, l.source, true)
		if err != nil {
			return mounted{}, err
		}
		return mounted{s.Volume(p), p.Node}, nil
	}
	v := f.find(l.source)
	if v == nil {
		return mounted{}, errNoVolume
	}
	fs, err := v.Open(ctx)
	if err != nil {
		return mounted{}, err
	}
	if sub, ok := l.option("subvol"); ok && v.Type == "btrfs" && strings.Trim(sub, "/") != "" {
		n, err := subvolume(ctx, v, sub)
		return mounted{v, n}, err
	}
	if _, ok := l.option("subvolid"); ok && v.Type == "btrfs" && !l.has("subvol=/") {
		return mounted{vol: v}, fmt.Errorf("a subvolume by its number: %w", guest.ErrUnsupported)
	}
	return mounted{v, fs.Root()}, nil
}

// cover mounts upon a directory.
func (s *Space) cover(ctx context.Context, dir string, m mounted) error {
	at, err := s.Resolve(ctx, dir, true)
	if err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	over, err := s.Stat(ctx, at)
	if err != nil {
		return err
	}
	fs, err := m.vol.Open(ctx)
	if err != nil {
		return err
	}
	a, err := fs.Stat(ctx, m.root)
	if err != nil {
		return err
	}
	if over.Type != guest.Directory || a.Type != guest.Directory { // a file may have several names
		return fmt.Errorf("only directories are mounted here: %w", syscall.ENOTDIR)
	}
	s.covered[at] = len(s.mounts)
	s.mounts = append(s.mounts, m)
	return nil
}
