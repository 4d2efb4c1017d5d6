package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

const (
	indexDir = "index"
	// newIndexDir is where an index is made anew. One that is there at the
	// begin was left by a kill and is worth nothing.
	newIndexDir = "index.new"
)

// RebuildReport is what a rebuild of the index found.
type RebuildReport struct {
	Packs   int          // that were indexed
	Chunks  int64        // in them
	Roots   int          // that their records brought back
	Scanned []uint64     // packs of which the footer is lost: what lies in them was found record by record
	Broken  []BrokenPack // packs that can't be read
	Lost    []BrokenRoot // records of roots that can't be read
	Kept    []string     // roots that no pack holds, and that were taken from the old index
	Double  int          // chunks of which several records lie in packs
	Aside   string       // where the old index is; "": there was none
}

// BrokenPack is a pack that could not be indexed.
type BrokenPack struct {
	Pack uint64
	Err  error
}

// BrokenRoot is a root's record that could not be read.
type BrokenRoot struct {
	Pack   uint64
	Offset int64
	Err    error
}

// rebuildIndex makes the index anew from the packs beside the one that is
// there, and then takes its place: (1) index.new is filled and closed; (2) the
// old index is renamed; (3) the new one is. A kill before 2 leaves the old index
// and an index.new that the next rebuild removes; between 2 and 3 there is no
// index, and Open makes one from the packs.
func (s *Store) rebuildIndex(opts Options) error {
	old, lost, err := s.oldRoots(opts)
	if err != nil {
		s.log.Warn("the old index can't be read; only what lies in packs comes back", "err", err)
	}
	dir, anew := s.fs.PathJoin(s.dir, indexDir), s.fs.PathJoin(s.dir, newIndexDir)
	if err := s.fs.RemoveAll(anew); err != nil {
		return err
	}
	if s.index, err = openIndex(s.indexFS(), anew, s.indexCache, s.log, opts.Fatal); err != nil {
		return err
	}
	s.rebuilt = new(RebuildReport)
	err = s.adopt()
	if err == nil {
		err = errors.Join(s.keepRoots(old), s.keepLost(lost))
	}
	s.rebuilt.Packs, s.rebuilt.Roots = s.adopted.Unknown, s.adopted.Roots
	if err = errors.Join(err, s.index.Flush(), s.files.close(), s.index.Close()); err != nil {
		return err
	}
	if _, err := s.fs.Stat(dir); err == nil {
		if s.rebuilt.Aside, err = setAside(s.fs, dir, "replaced"); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.fs.Rename(anew, dir); err != nil {
		return err
	}
	return syncDir(s.fs, s.dir)
}

// oldRoots reads the roots of the index that is there, and those of which it says
// that they can't be read. It opens it read-only: it may be of another state, or half
// a one.
func (s *Store) oldRoots(opts Options) (roots []root, lost map[ID]place, err error) {
	dir := s.fs.PathJoin(s.dir, indexDir)
	if _, err := s.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	db, err := pebble.Open(dir, &pebble.Options{FS: s.fs, ReadOnly: true, ErrorIfNotExists: true, Logger: indexLog{s.log, opts.Fatal}})
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	old := &Store{index: db}
	err = old.Roots(context.Background(), "", "", func(name string, body []byte) bool {
		roots = append(roots, root{name, append([]byte(nil), body...)})
		return true
	})
	lost, lerr := old.lostRoots(context.Background())
	return roots, lost, errors.Join(err, lerr)
}

// keepRoots takes over the roots that only the old index has: their records are
// lost, and the next repair stores them anew. One that was pruned since the old
// index was saved comes back as a damaged version, which does less harm than a
// version that is gone.
func (s *Store) keepRoots(old []root) error {
	for _, r := range old {
		if _, err := s.Root(context.Background(), r.name); !errors.Is(err, ErrNotFound) {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.index.Set(rootKey(r.name), r.body, pebble.NoSync); err != nil {
			return fmt.Errorf("index root: %w", err)
		}
		s.rebuilt.Kept = append(s.rebuilt.Kept, r.name)
	}
	return nil
}

// keepLost takes over what the old index said of roots that can't be read where their
// packs are no more: a repair may have replaced them by what was left. Of a pack that
// is there its own records have just told.
func (s *Store) keepLost(lost map[ID]place) error {
	for id, at := range lost {
		if known, err := s.knows(at.pack); err != nil {
			return err
		} else if known {
			continue
		}
		if err := s.noteLostRoot(id, at); err != nil {
			return err
		}
	}
	return nil
}

// keepsPlace reports, in a rebuild, whether a chunk that is indexed already comes
// back from there, so that its second record need not be taken. Records of
// damaged chunks stay in their packs when the chunk was stored anew.
func (s *Store) keepsPlace(e pack.Entry, in uint64) bool {
	if s.rebuilt == nil {
		return false
	}
	at, ok, err := s.lookup(e.ID)
	if err != nil || !ok {
		return false
	}
	if at.pack == in && at.offset == e.Offset {
		return true
	}
	s.rebuilt.Double++
	rec, err := s.readPlace(e.ID, at, nil)
	if err != nil {
		return false
	}
	_, err = s.codec.Decode(nil, rec, e.ID)
	return err == nil
}

// staleJob is where it is remembered that the index was found to be of another
// state of the packs.
const staleJob = "stale index"

// checkState tells whether index and packs belong together. A crash leaves packs
// that the index does not know, and damage takes packs that it knows; both at
// once mean that one of the two was copied from another time. Nothing is wrong
// by that with what is read: each chunk is proved. But versions may be missing,
// or be there that were pruned.
func (s *Store) checkState() error {
	found := len(s.adopted.Missing) > 0 && s.adopted.Unknown > 0
	was, err := s.Job(staleJob)
	if err != nil {
		return err
	}
	switch {
	case found && was == nil:
		err = s.SetJob(staleJob, []byte{1})
	case was != nil && len(s.adopted.Missing) == 0:
		err = s.index.Delete(append([]byte{keyJob}, staleJob...), pebble.NoSync)
	}
	s.adopted.Stale = len(s.adopted.Missing) > 0 && (found || was != nil)
	if s.adopted.Stale {
		s.log.Error("the index is of another state of the packs: packs that it knows are gone, and there were some that it did not know; run: holdfast rebuild-index",
			"gone", len(s.adopted.Missing), "unknown", s.adopted.Unknown)
	}
	return err
}

// sort puts the report's lists in order.
func (r *RebuildReport) sort() {
	slices.Sort(r.Scanned)
	slices.Sort(r.Kept)
	slices.SortFunc(r.Broken, func(a, b BrokenPack) int {
		if a.Pack < b.Pack {
			return -1
		}
		return 1
	})
}
