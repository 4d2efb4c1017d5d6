package files

import (
	"context"
	"errors"
	"slices"
	"strings"

	"holdfast/fs/guest"
)

const (
	maxDepth     = 512 // of directories; a path of PATH_MAX has up to 2048
	listingBatch = 256
)

var (
	errTooDeep = errors.New("directories lie too deep in each other")
	errTwice   = errors.New("the directory is in two places: the filesystem is damaged")
	errName    = errors.New("the name can't be one of a file")
)

// File is what a walk meets.
type File struct {
	Path  string // from where the walk began; "" is that itself
	Place Place
	Attr  guest.Attr
}

// Walker goes through a tree. Its memory grows with the number of directories,
// by a few words for each.
type Walker struct {
	Space *Space
	// Visit is called for each file before what is in it. false passes over a
	// directory's content; an error ends the walk.
	Visit func(f File) (bool, error)
	// After, if there is one, is called when a directory's content is done.
	After func(f File) error
	// Problem is told of what can't be read; an error that it returns ends the
	// walk.
	Problem func(path string, err error) error

	seen map[Place]bool
}

// Walk goes through the tree at a place; again for another one, but through no
// directory twice, so that a hostile tree has an end. Entries come in the order in which the
// guest's directories have them.
func (w *Walker) Walk(ctx context.Context, top Place) error {
	if w.seen == nil {
		w.seen = map[Place]bool{}
	}
	return w.file(ctx, "", top, 0)
}

func (w *Walker) file(ctx context.Context, path string, p Place, depth int) error {
	a, err := w.Space.Stat(ctx, p)
	if err != nil {
		return w.problem(ctx, path, err)
	}
	f := File{path, p, a}
	if a.Type == guest.Directory && (w.seen[p] || depth > maxDepth) {
		err := errTwice
		if !w.seen[p] {
			err = errTooDeep
		}
		return w.problem(ctx, path, err)
	}
	into, err := w.Visit(f)
	if err != nil || !into || a.Type != guest.Directory {
		return err
	}
	w.seen[p] = true
	if err := w.dir(ctx, f, depth); err != nil {
		return err
	}
	if w.After == nil {
		return nil
	}
	return w.After(f)
}

// dir walks through a directory, batch by batch, so that no listing is open
// while what is in it is walked through.
func (w *Walker) dir(ctx context.Context, f File, depth int) error {
	for cookie := uint64(0); ; {
		batch, err := w.Space.batch(ctx, f.Place, cookie)
		if err != nil {
			return w.problem(ctx, f.Path, err)
		}
		for _, e := range batch {
			path := join(f.Path, e.Name)
			if !Sane(e.Name) {
				err = w.problem(ctx, path, errName)
			} else {
				err = w.file(ctx, path, e.Place, depth+1)
			}
			if err != nil {
				return err
			}
		}
		if len(batch) < listingBatch {
			return nil
		}
		cookie = batch[len(batch)-1].Cookie
	}
}

// batch reads the next entries behind a cookie.
func (s *Space) batch(ctx context.Context, dir Place, cookie uint64) (list []Entry, err error) {
	err = s.ReadDir(ctx, dir, cookie, func(e Entry) bool {
		list = append(list, e)
		return len(list) < listingBatch
	})
	return list, err
}

// problem tells of an error, unless the walk must end.
func (w *Walker) problem(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.Problem(path, err)
}

// Sane tells whether a guest's name can be a file's here: readers promise so, but
// a name is the guest's.
func Sane(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00")
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// List returns up to most entries of a directory, sorted by name, and whether
// there are more.
func (s *Space) List(ctx context.Context, dir Place, most int) (list []Entry, more bool, err error) {
	err = s.ReadDir(ctx, dir, 0, func(e Entry) bool {
		more = len(list) == most
		if !more {
			list = append(list, e)
		}
		return !more
	})
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, more, err
}
