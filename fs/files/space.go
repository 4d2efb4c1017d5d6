package files

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"holdfast/fs/guest"
)

// Bounds of a path: its own parts and those of the links in it, and the links.
const (
	maxParts = 1024
	maxLinks = 40
)

// Systems of guests.
const (
	Linux   = "linux"
	Windows = "windows"
)

// Space is a tree of files made of one volume or of several that lie upon each
// other. It holds numbers only: the filesystems are opened when they are read.
// It is immutable and safe for concurrent use.
type Space struct {
	System string  // Linux or Windows; "" where no guest's root was found
	Mounts []Mount // without Volume; the first is the root
	Notes  []string

	shown   []*Volume // of each of Mounts; nil where it was not found
	mounts  []mounted
	covered map[Place]int // directories under a mount, to the mount's number
	drives  []drive       // of Windows: what mount 0 holds, which has no volume
}

// mounted is a volume, or a part of it, in the namespace.
type mounted struct {
	vol  *Volume
	root guest.Node
}

// drive is a letter and the number of its mount.
type drive struct {
	Letter string
	mount  int
}

// Place is a file of a Space: the mount that it was reached through, and its
// node in that volume. The zero Place is the top of a Space of drives.
type Place struct {
	Mount int
	Node  guest.Node
}

// Entry is a name in a directory of a Space.
type Entry struct {
	guest.Entry
	Place Place
}

var errNotDir = fmt.Errorf("%w: a part of the path is no directory", syscall.ENOTDIR)

// Single is the Space of one volume by itself.
func Single(ctx context.Context, v *Volume) (*Space, error) {
	fs, err := v.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &Space{mounts: []mounted{{v, fs.Root()}}}, nil
}

// Root is the top of the tree.
func (s *Space) Root() Place {
	if len(s.drives) > 0 || len(s.mounts) == 0 {
		return Place{}
	}
	return s.Enter(Place{0, s.mounts[0].root})
}

// Volume is the volume in which a place lies; nil at the top of drives.
func (s *Space) Volume(p Place) *Volume {
	if p.Mount < 0 || p.Mount >= len(s.mounts) {
		return nil
	}
	return s.mounts[p.Mount].vol
}

// Enter returns the root of what is mounted upon a directory, or else p. Mounts
// lie upon earlier ones only, so this ends.
func (s *Space) Enter(p Place) Place {
	for {
		m, ok := s.covered[p]
		if !ok {
			return p
		}
		p = Place{m, s.mounts[m].root}
	}
}

// Open returns the filesystem in which a place lies. Not for the top of drives.
func (s *Space) Open(ctx context.Context, p Place) (guest.Filesystem, error) {
	v := s.Volume(p)
	if v == nil {
		return nil, fmt.Errorf("the drives are no volume: %w", guest.ErrNotExist)
	}
	return v.Open(ctx)
}

// top tells whether p is the directory of drives.
func (s *Space) top(p Place) bool { return s.Volume(p) == nil }

// Stat is guest.Filesystem's. The directory of drives has but a type.
func (s *Space) Stat(ctx context.Context, p Place) (guest.Attr, error) {
	if s.top(p) {
		return guest.Attr{Type: guest.Directory, Perm: 0o755, Links: 1}, nil
	}
	fs, err := s.Open(ctx, p)
	if err != nil {
		return guest.Attr{}, err
	}
	return fs.Stat(ctx, p.Node)
}

// Lookup finds a name in a directory. The letter of a drive may be small.
func (s *Space) Lookup(ctx context.Context, dir Place, name string) (Place, error) {
	if s.top(dir) {
		for _, d := range s.drives {
			if strings.EqualFold(strings.TrimSuffix(name, ":"), d.Letter) {
				return s.Enter(Place{d.mount, s.mounts[d.mount].root}), nil
			}
		}
		return Place{}, fmt.Errorf("%q: %w", name, guest.ErrNotExist)
	}
	fs, err := s.Open(ctx, dir)
	if err != nil {
		return Place{}, err
	}
	n, err := fs.Lookup(ctx, dir.Node, name)
	if err != nil {
		return Place{}, err
	}
	return s.Enter(Place{dir.Mount, n}), nil
}

// ReadDir is guest.Filesystem's.
func (s *Space) ReadDir(ctx context.Context, dir Place, cookie uint64, fn func(Entry) bool) error {
	if s.top(dir) {
		for i, d := range s.drives {
			at := s.Enter(Place{d.mount, s.mounts[d.mount].root})
			e := Entry{guest.Entry{Name: d.Letter, Node: at.Node, Type: guest.Directory, Cookie: uint64(i) + 1}, at}
			if uint64(i) >= cookie && !fn(e) {
				break
			}
		}
		return nil
	}
	fs, err := s.Open(ctx, dir)
	if err != nil {
		return err
	}
	return fs.ReadDir(ctx, dir.Node, cookie, func(e guest.Entry) bool {
		return fn(Entry{e, s.Enter(Place{dir.Mount, e.Node})})
	})
}

// Resolve walks a path from the top. Links on the way are followed as the guest
// would, and never out of the Space; the last one only if follow says so. The
// error is fs.ErrNotExist, ENOTDIR, ELOOP, or that of reading.
func (s *Space) Resolve(ctx context.Context, path string, follow bool) (Place, error) {
	w := walk{s: s, stack: []Place{s.Root()}}
	if err := w.to(ctx, path, follow); err != nil {
		return Place{}, fmt.Errorf("%s: %w", path, err)
	}
	return w.stack[len(w.stack)-1], nil
}

// walk is a path that is being resolved: the directories from the top.
type walk struct {
	s     *Space
	stack []Place
	parts int
	links int
}

func (w *walk) to(ctx context.Context, path string, follow bool) error {
	if strings.HasPrefix(path, "/") {
		w.stack = w.stack[:1]
	}
	for path != "" {
		var part string
		part, path, _ = strings.Cut(path, "/")
		if w.parts++; w.parts > maxParts {
			return syscall.ENAMETOOLONG
		}
		switch part {
		case "", ".":
		case "..":
			w.stack = w.stack[:max(1, len(w.stack)-1)]
		default:
			if err := w.step(ctx, part, follow || path != ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// step goes to a name in the directory that was reached.
func (w *walk) step(ctx context.Context, name string, follow bool) error {
	dir := w.stack[len(w.stack)-1]
	if a, err := w.s.Stat(ctx, dir); err != nil || a.Type != guest.Directory {
		return errors.Join(err, errNotDir)
	}
	p, err := w.s.Lookup(ctx, dir, name)
	if err != nil {
		return err
	}
	a, err := w.s.Stat(ctx, p)
	if err != nil {
		return err
	}
	if a.Type != guest.Symlink || !follow {
		w.stack = append(w.stack, p)
		return nil
	}
	if w.links++; w.links > maxLinks {
		return syscall.ELOOP
	}
	fs, err := w.s.Open(ctx, p)
	if err != nil {
		return err
	}
	target, err := fs.Readlink(ctx, p.Node)
	if err != nil {
		return err
	}
	return w.to(ctx, target, true)
}
