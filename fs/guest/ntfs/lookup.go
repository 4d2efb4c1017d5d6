package ntfs

import (
	"bytes"
	"context"
	"errors"

	"holdfast/fs/guest"
)

// Lookup implements guest.Filesystem. Names are those that ReadDir lists, and
// case counts, as with ntfs-3g: a directory may hold names that differ in
// nothing else. Where the tree is damaged, names are searched one by one.
func (f *FS) Lookup(ctx context.Context, dir guest.Node, name string) (guest.Node, error) {
	ix, err := f.dir(ctx, dir)
	if err != nil {
		return 0, err
	}
	wanted, ok := widen(name)
	if !ok || len(wanted) == 0 || len(wanted) > 2*maxName {
		return 0, guest.ErrNotExist
	}
	n, ref, err := f.find(ctx, ix, wanted)
	if err != nil {
		return 0, err
	}
	if _, bad := n.check(); bad != nil || n.space == spaceDOS || ref&refMask < firstUser {
		return 0, guest.ErrNotExist
	}
	// The record may have been given to another file since.
	x, err := f.reference(ctx, ref)
	if err != nil {
		return 0, asDamage(err)
	}
	return guest.Node(x.number), nil
}

// find looks a name up, case and all.
func (f *FS) find(ctx context.Context, ix *index, wanted []byte) (fileName, uint64, error) {
	var found fileName
	alike := false // there is a name that differs in case only
	e, ok, err := f.search(ctx, ix, func(key []byte) int {
		n, err := parseName(key)
		if err != nil {
			return -1
		}
		alike = alike || f.upcase.compareFold(wanted, n.name) == 0
		return f.upcase.compare(wanted, n.name)
	})
	switch {
	case ok:
		found, err = parseName(e.key)
		return found, le.Uint64(e.bytes), err
	case err != nil && !errors.Is(err, guest.ErrCorrupt):
		return found, 0, err
	case err == nil && !alike && f.upcase != nil:
		return found, 0, guest.ErrNotExist
	}
	// The order of names that differ in case only is not sure.
	var ref uint64
	err = f.eachName(ctx, ix, 0, func(n fileName, r, _ uint64) bool {
		if bytes.Equal(n.name, wanted) {
			found, ref = n, r
			return false
		}
		return true
	})
	if ref == 0 && err == nil {
		err = guest.ErrNotExist
	}
	return found, ref, err
}

// findFold looks a name up without regard to case, DOS names as well; one that
// is just the same comes first.
func (f *FS) findFold(ctx context.Context, ix *index, wanted []byte) (fileName, uint64, error) {
	n, ref, err := f.find(ctx, ix, wanted)
	if err == nil || !errors.Is(err, guest.ErrNotExist) {
		return n, ref, err
	}
	e, ok, err := f.search(ctx, ix, func(key []byte) int {
		n, err := parseName(key)
		if err != nil {
			return -1
		}
		return f.upcase.compareFold(wanted, n.name)
	})
	if err == nil && !ok {
		err = guest.ErrNotExist
	}
	if err != nil {
		return fileName{}, 0, err
	}
	n, err = parseName(e.key)
	return n, le.Uint64(e.bytes), err
}
