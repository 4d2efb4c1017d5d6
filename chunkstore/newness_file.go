package chunkstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// filter is what an index has: a base, and what entered since.
//
// A filter that an owner left is of a set of packs. An index leads only into the
// packs that it knows, packs never change, and a chunk
// that no longer is in the index has taken a pack along. So where the index knows
// exactly the set's packs, the filter knows all its chunks, whatever crashed or was
// copied in between. Not so where a pack enters that lies there already, in an index
// that is made anew or from a backup: of a chunk with two records that leads to
// one to which nothing led before. Its files are removed before that.
type filter struct {
	base  *base
	young *bloom       // of ids
	bad   atomic.Int64 // lines of the base that were asked and were bad

	ids     heads   // that entered since the base was made; guarded by the store's damage.mu
	dropped bool    // its base is no more what next owners may take; likewise
	saved   packSet // what is in its files; likewise
}

func newFilter(b *base) *filter { return &filter{base: b, young: newBloom(youngBytes)} }

// mayHave reports whether id was added; true may be wrong. sure says that it did not
// come from a line that is bad.
func (f *filter) mayHave(id ID) (may, sure bool) {
	if f.young.mayHave(id) {
		return true, true
	}
	if f.base == nil {
		return true, false // it is being made
	}
	if may, sure = f.base.mayHave(id); !sure {
		f.bad.Add(1)
	}
	return may, sure
}

// add takes in an id, and reports whether the base lacks it. What is beside the base is not
// asked: it may take an id for another's, and the next base, made of ids, would not. The
// caller holds the store's damage.mu.
func (f *filter) add(id ID) bool {
	if f.base != nil {
		if may, sure := f.base.mayHave(id); may && sure {
			return false
		}
	}
	f.young.add(id)
	f.ids.add(headOf(id))
	return true
}

func (s *Store) filterPath() string  { return s.fs.PathJoin(s.dir, filterName) }
func (s *Store) youngPath() string   { return s.fs.PathJoin(s.dir, youngName) }
func (s *Store) newFilePath() string { return s.fs.PathJoin(s.dir, "."+filterName+".new") }

// openFilter opens the filter that a former owner left, if it is of this set of packs.
func (s *Store) openFilter(want packSet) (*filter, error) {
	b, err := openBase(s.fs, s.filterPath())
	if err != nil {
		return nil, err
	}
	f := newFilter(b)
	if y, err := readYoung(s.fs, s.youngPath()); err == nil && y.base == b.set && y.set == want {
		f.ids = y.ids
		for id := range y.ids.all() {
			f.young.addHead(id)
		}
	} else if b.set != want {
		return nil, errors.Join(errNotWorth, b.close())
	}
	f.saved = want
	return f, nil
}

// hasFilter reports whether there is a file of a filter.
func (s *Store) hasFilter() bool {
	_, err := s.fs.Stat(s.filterPath())
	return err == nil
}

// writeBase writes a new base, which has no name yet; see placeBase.
func (s *Store) writeBase(lines uint64, write func(io.Writer) error) error {
	if err := s.roomFor(int64(lines+1) * lineLen); err != nil {
		return fmt.Errorf("%w: %w", errNotWorth, err)
	}
	f, err := s.fs.Create(s.newFilePath(), "holdfast-filter")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, s.fs.Remove(s.newFilePath())) // the disk may be full
	}
	return nil
}

// placeBase gives a new base its name, and opens it.
func (s *Store) placeBase() (*base, error) {
	if err := s.fs.Rename(s.newFilePath(), s.filterPath()); err != nil {
		return nil, err
	}
	b, err := openBase(s.fs, s.filterPath())
	if err != nil {
		return nil, errors.Join(err, s.fs.Remove(s.filterPath()))
	}
	return b, nil
}

// foldFilter writes a new base of what f has and these ids of its own.
func (s *Store) foldFilter(f *filter, set packSet, ids heads, stopped func() bool) error {
	return s.writeBase(f.base.lines, func(w io.Writer) error { return f.base.fold(w, set, ids.sorted(), stopped) })
}

// saveFilter leaves a filter to the next owner. No other call may run.
func (s *Store) saveFilter(f *filter) error {
	set, _, err := s.packSet()
	if err != nil || set == f.saved && !f.dropped {
		return err
	}
	if f.dropped || f.ids.n >= youngMost {
		if err := s.foldFilter(f, set, f.ids, func() bool { return false }); err != nil {
			return err
		}
		return s.fs.Rename(s.newFilePath(), s.filterPath())
	}
	if s.roomFor(int64(youngHead+16*f.ids.n)) != nil {
		return nil // it is needed by who frees some
	}
	out, err := s.fs.Create(s.newFilePath(), "holdfast-filter")
	if err != nil {
		return err
	}
	y := youngIDs{f.base.set, set, f.ids}
	if err := errors.Join(y.write(out), out.Close()); err != nil {
		return errors.Join(err, s.fs.Remove(s.newFilePath()))
	}
	return s.fs.Rename(s.newFilePath(), s.youngPath())
}

// dropFilter removes the files: a pack that the index knew has entries now that were
// not led to before. The caller holds damage.mu, or is alone.
func (s *Store) dropFilter() {
	n := &s.newness
	for _, f := range []*filter{n.known.Load(), n.making.Load()} {
		if f != nil {
			f.dropped = true
		}
	}
	removed := false
	for _, path := range []string{s.filterPath(), s.youngPath()} {
		err := s.fs.Remove(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the filter of what is new can't be removed; chunks may be stored twice", "file", path, "err", err)
		}
		removed = removed || err == nil
	}
	if !removed {
		return
	}
	s.log.Debug("the filter of what is new was of another index")
	if err := syncDir(s.fs, s.dir); err != nil {
		s.log.Warn("the filter of what is new may come back; chunks may be stored twice then", "err", err)
	}
}
