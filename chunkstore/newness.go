package chunkstore

import (
	"errors"
	"io"
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
// Most of a filter is a file, of which a chunk's line is read when it is asked for: what
// it costs in time and memory is a matter of what is captured, not of what the store holds.
// It is made when it has become worth it, by a pass over the index beside all
// else, or is what a former owner left; see newness_file.go.

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
	known  atomic.Pointer[filter] // of every chunk in the index; nil: there is none
	misses atomic.Int64           // look-ups that found nothing, without a filter
	added  atomic.Int64           // ids in known, about
	left   bool                   // there was a filter's file when the store was opened

	making atomic.Pointer[filter] // what enters beside the making of its base; changed under the store's damage.mu

	mu     sync.Mutex // guards what follows
	busy   bool       // a pass is under way
	failed bool       // the last one could not be done: leave it
	closed bool
	done   sync.WaitGroup
	stop   atomic.Bool
}

// surelyNew reports whether the index does not know a chunk, as far as that can be
// told without a look-up. A chunk in flight may be surely new.
func (s *Store) surelyNew(id ID) bool {
	f := s.newness.known.Load()
	if f == nil {
		return false
	}
	may, sure := f.mayHave(id)
	if !sure && f.bad.Load()%mostBad == 0 {
		s.learn()
	}
	return !may
}

// missed counts a look-up that found nothing.
func (s *Store) missed() {
	n := &s.newness
	if n.known.Load() != nil {
		return
	}
	if m := n.misses.Add(1); m == 1 && n.left || m%worthMisses == 0 {
		s.learn()
	}
}

// enters is called with each id before an entry of it can appear in the index. The
// caller holds damage.mu until it has.
func (s *Store) enters(id ID) {
	n := &s.newness
	known, making := n.known.Load(), n.making.Load()
	if making != nil {
		making.add(id)
	}
	if known == nil || !known.add(id) {
		return
	}
	added := n.added.Add(1)
	if making != nil || added%worthMisses != 0 {
		return
	}
	switch {
	case known.ids.n > 2*youngMost: // no new base could be made
		n.known.Store(nil)
		n.drop(known)
	case known.isCrowded(added), known.ids.n >= youngMost:
		s.learn()
	}
}

// isCrowded reports whether so many ids want a larger filter.
func (f *filter) isCrowded(ids int64) bool {
	size := int64(f.base.lines) * lineLen
	return size < maxFilter && ids > size*8/fewestBits
}

// drop lets go of a filter that nobody asks any more.
func (n *newness) drop(f *filter) {
	if f != nil && f.base != nil {
		_ = f.base.close() // it was only read
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

// doLearn takes the filter that was left, makes one, or makes a better one.
func (s *Store) doLearn() error {
	n := &s.newness
	f := n.known.Load()
	switch {
	case f == nil:
		chunks, err := s.takeFilter()
		if err == nil || !errors.Is(err, errNotWorth) {
			return err
		}
		if n.misses.Load() < chunks/scanShare {
			return errNotWorth
		}
		return s.scanFilter()
	case f.bad.Load() >= mostBad:
		s.giveUp(f)
		return errNotWorth
	case f.isCrowded(n.added.Load()):
		return s.scanFilter()
	}
	return s.renewFilter(f)
}

// takeFilter takes the filter that a former owner left. The error is errNotWorth where
// there is none for these packs. It returns how many chunks the index has, about.
func (s *Store) takeFilter() (chunks int64, err error) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	set, chunks, err := s.packSet()
	if err != nil {
		return 0, err
	}
	f, err := s.openFilter(set)
	if err != nil {
		return chunks, errNotWorth
	}
	s.newness.added.Store(chunks)
	s.newness.known.Store(f)
	s.newness.done.Go(f.base.prefetch)
	return chunks, nil
}

// giveUp removes a filter of which much can't be read.
func (s *Store) giveUp(f *filter) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	s.dropFilter()
	s.newness.known.Store(nil)
	s.newness.misses.Store(0)
	s.newness.drop(f)
}

// beginFilter begins a filter of these packs: what enters the index from now on is added
// to it, and known, if any, is let go by nobody. It returns what is in the index, and in
// known beside its base.
func (s *Store) beginFilter(known *filter) (it *pebble.Iterator, young heads, set packSet, chunks int64, err error) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if known != nil && s.newness.known.Load() != known {
		return nil, young, set, 0, errNotWorth // it was let go meanwhile, and its base is closed
	}
	if set, chunks, err = s.packSet(); err != nil {
		return nil, young, set, 0, err
	}
	if known != nil {
		young = known.ids
	} else if it, err = s.index.NewIter(&pebble.IterOptions{LowerBound: []byte{keyChunk}, UpperBound: []byte{keyChunk + 1}}); err != nil {
		return nil, young, set, 0, err
	}
	s.newness.making.Store(newFilter(nil))
	return it, young, set, chunks, nil
}

// scanFilter makes a filter of what the index holds.
func (s *Store) scanFilter() error {
	it, _, set, chunks, err := s.beginFilter(nil)
	if err != nil {
		return err
	}
	head := baseHead{set, uint64(filterSize(max(chunks, s.newness.added.Load())) / lineLen)}
	var count int64
	err = s.writeBase(head.lines, func(w io.Writer) (err error) {
		count, err = s.newness.scan(newBaseWriter(w, head), it)
		return err
	})
	return s.endFilter(set, count, errors.Join(err, it.Close()))
}

// renewFilter makes a new base of the filter's and of what entered since.
func (s *Store) renewFilter(f *filter) error {
	_, ids, set, chunks, err := s.beginFilter(f)
	if err != nil {
		return err
	}
	return s.endFilter(set, chunks, s.foldFilter(f, set, ids, s.newness.stop.Load))
}

// filterSize is the size in bytes of a filter of so many chunks, with room for as
// many again.
func filterSize(chunks int64) int {
	size := minFilter
	for size < maxFilter && int64(size)*8 < chunks*2*bitsPerChunk {
		size *= 2
	}
	return min(size, maxFilter)
}

// endFilter puts the filter that was made in the place of the one before, unless there
// was an error.
func (s *Store) endFilter(set packSet, count int64, err error) error {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	n := &s.newness
	f := n.making.Swap(nil)
	if err != nil {
		return err
	}
	if f.dropped { // its files would say that they have what entered without a pack
		return errors.Join(errNotWorth, s.fs.Remove(s.newFilePath()))
	}
	if f.base, err = s.placeBase(); err != nil {
		return err
	}
	f.saved = set
	n.added.Store(count + int64(f.ids.n))
	n.drop(n.known.Swap(f))
	return nil
}

// scan writes what the index holds.
func (n *newness) scan(to *baseWriter, it *pebble.Iterator) (count int64, err error) {
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key(); len(k) == 1+len(ID{}) {
			to.add(idHead(k[1:]))
		}
		if count++; count%4096 == 0 && n.stop.Load() {
			return count, errStopped
		}
	}
	return count, errors.Join(it.Error(), to.end())
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
	f := n.known.Load()
	if f == nil {
		return
	}
	if err := s.saveFilter(f); err != nil {
		s.log.Warn("the filter of what is new is not saved; it will be made anew", "err", err)
	}
	n.drop(f)
}
