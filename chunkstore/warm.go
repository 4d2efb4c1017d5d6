package chunkstore

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// warmAfter is how many reads of parts make it likely that more follow: who reads
	// by streams asks for whole chunks (measured: of the first 100 reads of a cold
	// disk each takes 0.29 ms at the mean with 16, 0.20 with 1).
	warmAfter = 1
	// warmShare is how many bytes of the block cache a chunk must have for all of an
	// index to be brought there; it takes 59.
	warmShare = 80
)

// warmth brings an index that fits Pebble's block cache there, by one pass from
// front to back, and where its chunks lie into the store's places. Random reads meet
// its blocks in no order: each would wait for the disk until all have been met
// (measured: 28 µs a look-up on the average, where one in memory takes 5).
type warmth struct {
	asked atomic.Int64 // parts that were read
	stop  atomic.Bool

	mu     sync.Mutex // guards what follows
	early  bool       // Warm has begun a pass
	begun  bool       // a read has
	closed bool
	done   sync.WaitGroup

	passing sync.Mutex // one pass at a time; guards chunks
	chunks  int64      // that the index had when the last pass began; 0: none
}

// readsParts is called for each part that is read.
func (s *Store) readsParts() {
	if w := &s.warmth; w.asked.Load() < warmAfter && w.asked.Add(1) == warmAfter {
		s.warmFor(&w.begun)
	}
}

// Warm begins that pass beside its caller, for who will probably read at random some
// time: the first reads need not wait for the disk and share the cores with it. It takes
// 10 to 20 ms for 25,000 chunks.
func (s *Store) Warm() { s.warmFor(&s.warmth.early) }

// warmFor makes a pass, once for each reason that there is.
func (s *Store) warmFor(reason *bool) {
	w := &s.warmth
	w.mu.Lock()
	defer w.mu.Unlock()
	if !*reason && !w.closed {
		*reason = true
		w.done.Go(s.warmAgain)
	}
}

// warmAgain is warmIndex where the index has grown by more than a quarter since, or has
// not been warmed.
func (s *Store) warmAgain() {
	w := &s.warmth
	w.passing.Lock()
	defer w.passing.Unlock()
	if _, chunks, err := s.packSet(); err == nil && chunks > w.chunks+w.chunks/4 {
		w.chunks = chunks
		s.warmIndex(chunks)
	}
}

// warmIndex makes the pass over an index of so many chunks. It is advice: what it can't
// read shows when it is looked up.
func (s *Store) warmIndex(chunks int64) {
	s.places.room(max(chunks, leastPlaces))
	if chunks > s.indexCache/warmShare {
		return
	}
	it, err := s.index.NewIter(&pebble.IterOptions{LowerBound: []byte{keyChunk}, UpperBound: []byte{keyChunk + 1}})
	if err != nil {
		return
	}
	defer it.Close()
	for ok := it.First(); ok && !s.warmth.stop.Load(); ok = it.Next() {
		if at, err := parsePlace(it.Value()); err == nil && len(it.Key()) == 1+len(ID{}) {
			s.places.note(ID(it.Key()[1:]), at)
		}
	}
}

// closeWarmth ends what is under way.
func (s *Store) closeWarmth() {
	w := &s.warmth
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop.Store(true)
	w.done.Wait()
}
