package files

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"

	"holdfast/fs/guest"
)

// Kind of a change between two trees.
type Kind string

const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// What changed of a file that is in both trees.
const (
	WhatType    = "type"
	WhatContent = "content"
	WhatMode    = "mode"
	WhatOwner   = "owner"
	WhatTime    = "mtime"
	WhatTarget  = "target"
	WhatXattrs  = "xattrs"
	WhatDevice  = "device"
)

// Change is one file that differs. Old and New are nil where it is not there.
type Change struct {
	Path     string
	Kind     Kind
	What     []string
	Old, New *guest.Attr
}

// Differ compares two trees, of one VM's versions or of any two.
type Differ struct {
	Old, New *Space
	Report   func(Change) error
	// Problem is told of what could not be read, old or new.
	Problem func(path string, err error) error
	// Compared counts regular files, Proved those that the maps prove to hold
	// the same although their times differ, and Read the bytes of data that were
	// read of both trees.
	Compared, Proved, Read int64
}

// Diff compares what lies at two places. Names, attributes and maps are read; the
// data of two files only where their sizes are equal, their times or numbers are
// not, and the maps prove neither that they hold the same nor that they differ;
// and then only those runs.
func (d *Differ) Diff(ctx context.Context, old, new Place) error {
	news := Walker{Space: d.New, Problem: d.Problem}
	// The walk goes through the old tree and keeps the directories of the new
	// one that lie beside it; nil is one that is not there.
	beside := map[string]*Place{}
	w := Walker{Space: d.Old, Problem: d.Problem}
	w.Visit = func(f File) (bool, error) {
		there, err := d.find(ctx, beside, f.Path, new)
		if err != nil {
			return false, d.problem(ctx, f.Path, err)
		}
		if there == nil {
			if err := d.Report(Change{Path: f.Path, Kind: Removed, Old: &f.Attr}); err != nil {
				return false, err
			}
			return true, nil
		}
		if f.Attr.Type == guest.Directory {
			beside[f.Path] = there
		}
		return true, d.both(ctx, f, *there)
	}
	w.After = func(f File) error {
		there := beside[f.Path]
		delete(beside, f.Path)
		if there == nil {
			return nil
		}
		return d.added(ctx, &news, f, *there)
	}
	return w.Walk(ctx, old)
}

func (d *Differ) problem(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.Problem(path, err)
}

// find looks for the file beside an old one.
func (d *Differ) find(ctx context.Context, beside map[string]*Place, path string, top Place) (*Place, error) {
	if path == "" {
		return &top, nil
	}
	dir, name := split(path)
	up := beside[dir]
	if up == nil {
		return nil, nil
	}
	return d.lookup(ctx, d.New, *up, name)
}

// lookup returns nil where there is no such name, or no directory.
func (d *Differ) lookup(ctx context.Context, s *Space, dir Place, name string) (*Place, error) {
	a, err := s.Stat(ctx, dir)
	if err != nil || a.Type != guest.Directory {
		return nil, err
	}
	p, err := s.Lookup(ctx, dir, name)
	if errors.Is(err, guest.ErrNotExist) {
		return nil, nil
	}
	return &p, err
}

// added reports what a directory holds now and did not hold before.
func (d *Differ) added(ctx context.Context, w *Walker, f File, there Place) error {
	if a, err := d.New.Stat(ctx, there); err != nil || a.Type != guest.Directory {
		return err
	}
	for cookie := uint64(0); ; {
		batch, err := d.New.batch(ctx, there, cookie)
		if err != nil {
			return d.problem(ctx, f.Path, err)
		}
		for _, e := range batch {
			path := join(f.Path, e.Name)
			old, err := d.lookup(ctx, d.Old, f.Place, e.Name)
			if err != nil {
				if err := d.problem(ctx, path, err); err != nil {
					return err
				}
				continue
			}
			if old == nil {
				if err := d.all(ctx, w, path, e.Place, false); err != nil {
					return err
				}
			}
		}
		if len(batch) < listingBatch {
			return nil
		}
		cookie = batch[len(batch)-1].Cookie
	}
}

// all reports a file of the new tree as added, unless it was reported already,
// and what is in it.
func (d *Differ) all(ctx context.Context, w *Walker, top string, p Place, told bool) error {
	w.Visit = func(f File) (bool, error) {
		path := top
		if f.Path != "" {
			path += "/" + f.Path
		} else if told {
			return true, nil
		}
		return true, d.Report(Change{Path: path, Kind: Added, New: &f.Attr})
	}
	return w.Walk(ctx, p)
}

// both compares a file that is in both trees.
func (d *Differ) both(ctx context.Context, f File, there Place) error {
	now, err := d.New.Stat(ctx, there)
	if err != nil {
		return d.problem(ctx, f.Path, err)
	}
	what, err := d.compare(ctx, f, there, now)
	if err != nil {
		return d.problem(ctx, f.Path, err)
	}
	if len(what) == 0 {
		return nil
	}
	err = d.Report(Change{Path: f.Path, Kind: Changed, What: what, Old: &f.Attr, New: &now})
	if err == nil && f.Attr.Type != guest.Directory && now.Type == guest.Directory {
		err = d.all(ctx, &Walker{Space: d.New, Problem: d.Problem}, f.Path, there, true)
	}
	return err
}

func (d *Differ) compare(ctx context.Context, f File, there Place, now guest.Attr) (what []string, err error) {
	was := f.Attr
	if was.Type != now.Type {
		return []string{WhatType}, nil
	}
	note := func(changed bool, name string) {
		if changed {
			what = append(what, name)
		}
	}
	moved := !was.Mtime.Equal(now.Mtime)
	switch was.Type {
	case guest.Regular:
		changed, err := d.content(ctx, f, there, now)
		if err != nil {
			return nil, err
		}
		note(changed, WhatContent)
	case guest.Symlink:
		changed, err := d.target(ctx, f, there)
		if err != nil {
			return nil, err
		}
		note(changed, WhatTarget)
	case guest.CharDevice, guest.BlockDevice:
		note(was.Rdev != now.Rdev, WhatDevice)
	}
	note(was.Perm != now.Perm, WhatMode)
	note(was.UID != now.UID || was.GID != now.GID, WhatOwner)
	// A directory's time says no more than what is reported of its names.
	note(moved && was.Type != guest.Directory, WhatTime)
	if was.Ctime.Equal(now.Ctime) && was.Node == now.Node {
		return what, nil
	}
	changed, err := d.xattrs(ctx, f, there)
	note(changed, WhatXattrs)
	return what, err
}

// content tells whether a regular file holds something else now.
func (d *Differ) content(ctx context.Context, f File, there Place, now guest.Attr) (bool, error) {
	d.Compared++
	was := f.Attr
	touched := !was.Mtime.Equal(now.Mtime) || !was.Ctime.Equal(now.Ctime) || was.Node != now.Node
	switch {
	case was.Size != now.Size:
		return true, nil
	case !touched || was.Size == 0:
		return false, nil
	}
	v, err := judge(ctx, d.Old, f.Place, d.New, there, was.Size)
	if err != nil || v.differ {
		return v.differ, err
	}
	if len(v.doubts) == 0 {
		d.Proved++
	}
	for _, run := range v.doubts {
		same, err := sameBytes(ctx, d.Old, f.Place, d.New, there, run, func(n int64) { d.Read += n })
		if err != nil || !same {
			return !same, err
		}
	}
	return false, nil
}

func (d *Differ) target(ctx context.Context, f File, there Place) (bool, error) {
	old, err := readlink(ctx, d.Old, f.Place)
	if err != nil {
		return false, err
	}
	now, err := readlink(ctx, d.New, there)
	return old != now, err
}

func readlink(ctx context.Context, s *Space, p Place) (string, error) {
	fs, err := s.Open(ctx, p)
	if err != nil {
		return "", err
	}
	return fs.Readlink(ctx, p.Node)
}

func (d *Differ) xattrs(ctx context.Context, f File, there Place) (bool, error) {
	if d.Old.top(f.Place) || d.New.top(there) {
		return false, nil
	}
	a, err := d.Old.Open(ctx, f.Place)
	if err != nil {
		return false, err
	}
	b, err := d.New.Open(ctx, there)
	if err != nil {
		return false, err
	}
	old, err := a.Xattrs(ctx, f.Place.Node)
	if err != nil {
		return false, err
	}
	now, err := b.Xattrs(ctx, there.Node)
	return !maps.EqualFunc(old, now, bytes.Equal), err
}

// split cuts a path into its directory and its last part.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
