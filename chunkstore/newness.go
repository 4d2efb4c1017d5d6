package chunkstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// Most chunks of a first capture are new, and the index takes longer to say so than
// to find one: it is asked three times, some 5 µs each. So what is surely new is
// known without it, by a bloom filter of all its chunks. The filter never says that
// a chunk is there: that is looked up. One that lacked a chunk would have it stored
// twice, which does no harm and is found by no check; it lacks none all the same:
// whatever enters the index is added first.
//
// A filter is made when it has become worth it, by a pass over the index beside all
// else, or read from a file that a former owner left; see newness_file.go.

const (
	// bitsPerChunk is how many bits of a filter there are at the least when it is
	// made, up to maxFilter. It is made anew, twice to four times as large, when there are as few as
	// fewestBits.
	bitsPerChunk = 10
	fewestBits   = 7
	minFilter    = 1 << 20
	maxFilter    = 64 << 20
	// worthMisses is how many look-ups must have found nothing before a filter is
	// thought of, and scanShare for how many chunks of the index there must have
	// been one before all of them are read for it: an id is read in 0.2 µs.
	worthMisses = 1024
	scanShare   = 256
)

// newness knows which chunks are surely new. Its zero value knows of none.
type newness struct {
	known  atomic.Pointer[bloom] // of every chunk in the index; nil: there is none
	misses atomic.Int64          // look-ups that found nothing, without a filter
	added  atomic.Int64          // ids in known or in making, about

	making atomic.Pointer[bloom] // being filled; changed under the store's damage.mu

	mu     sync.Mutex // guards what follows
	busy   bool       // a pass is under way
	failed bool       // the last one could not be done: leave it
	closed bool
	saved  packSet // what the file is of
	done   sync.WaitGroup
	stop   atomic.Bool
	least  int64 // chunks from which on a file is worth it; 0: fileLeast
}

// surelyNew reports whether the index does not know a chunk, as far as that can be
// told without a look-up. A chunk in flight may be surely new.
func (s *Store) surelyNew(id ID) bool {
	f := s.newness.known.Load()
	return f != nil && !f.mayHave(id)
}

// missed counts a look-up that found nothing.
func (s *Store) missed() {
	n := &s.newness
	if n.known.Load() == nil && n.misses.Add(1)%worthMisses == 0 {
		s.learn()
	}
}

// enters is called with each id before an entry of it can appear in the index. The
// caller holds damage.mu until it has.
func (s *Store) enters(id ID) {
	n := &s.newness
	known, making := n.known.Load(), n.making.Load()
	if known != nil {
		known.add(id)
	}
	if making != nil {
		making.add(id)
	}
	if known == nil {
		return
	}
	if size := len(known.words) * 8; n.added.Add(1) > int64(size)*8/fewestBits && size < maxFilter && making == nil {
		s.learn()
	}
}

// learn makes a filter in the background, unless one is being made.
func (s *Store) learn() {
	n := &s.newness
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy || n.failed || n.closed {
		return
	}
	n.busy = true
	n.done.Go(func() {
		err := s.doLearn()
		n.mu.Lock()
		defer n.mu.Unlock()
		n.busy = false
		if err != nil && !errors.Is(err, errNotWorth) && !n.closed {
			n.failed = true
			s.log.Warn("which chunks are new is looked up one by one", "err", err)
		}
	})
}

var (
	errNotWorth = errors.New("not worth it yet")
	errStopped  = errors.New("the store is being closed")
)

func (s *Store) doLearn() error {
	n := &s.newness
	set, chunks, err := s.packSet()
	if err != nil {
		return err
	}
	fromFile := n.known.Load() == nil && s.hasFilter(set)
	if !fromFile && n.known.Load() == nil && n.misses.Load() < chunks/scanShare {
		return errNotWorth
	}
	it, set, err := s.beginFilter(fromFile, chunks)
	if err != nil {
		return err
	}
	if fromFile {
		if err := s.readFilter(n.making.Load(), set); err != nil {
			s.dropFilter() // the next ones who miss have it made by a pass
			return errors.Join(errNotWorth, s.endFilter(0, errors.Join(err, it.Close())))
		}
		return s.endFilter(chunks, it.Close())
	}
	count, err := n.scan(it)
	return s.endFilter(count, errors.Join(err, it.Close()))
}

// beginFilter begins a filter: what enters the index from now on is added to it,
// and what was there before is what it returns.
func (s *Store) beginFilter(fromFile bool, chunks int64) (*pebble.Iterator, packSet, error) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	set, _, err := s.packSet()
	if err != nil {
		return nil, packSet{}, err
	}
	it, err := s.index.NewIter(&pebble.IterOptions{LowerBound: []byte{keyChunk}, UpperBound: []byte{keyChunk + 1}})
	if err != nil {
		return nil, packSet{}, err
	}
	s.newness.making.Store(newBloom(s.filterSize(fromFile, chunks)))
	return it, set, nil
}

// filterSize is the size in bytes of a filter of so many chunks, with room for as
// many again.
func (s *Store) filterSize(fromFile bool, chunks int64) int {
	if fromFile {
		return s.savedFilterSize()
	}
	size := minFilter
	for size < maxFilter && int64(size)*8 < chunks*2*bitsPerChunk {
		size *= 2
	}
	return min(size, maxFilter)
}

func (s *Store) endFilter(count int64, err error) error {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	n := &s.newness
	f := n.making.Swap(nil)
	if err == nil {
		n.known.Store(f)
		n.added.Store(count)
	}
	return err
}

// scan adds what the index holds.
func (n *newness) scan(it *pebble.Iterator) (count int64, err error) {
	f := n.making.Load()
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key(); len(k) == 1+len(ID{}) {
			f.add(ID(k[1:]))
		}
		if count++; count%4096 == 0 && n.stop.Load() {
			return count, errStopped
		}
	}
	return count, it.Error()
}

// closeNewness ends what is under way and leaves the filter to the next owner. No
// other call may run.
func (s *Store) closeNewness() {
	n := &s.newness
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.stop.Store(true)
	n.done.Wait()
	if n.known.Load() == nil {
		return
	}
	if err := s.saveFilter(context.Background()); err != nil {
		s.log.Warn("the filter of what is new is not saved; it will be made anew", "err", err)
	}
}
