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
	// warmMost is the most chunks of an index that its block cache holds, with
	// 59 bytes a chunk.
	warmMost = indexCacheBytes / 80
)

// warmth brings an index that fits Pebble's block cache there, by one pass from
// front to back, and where its chunks lie into the store's places. Random reads meet
// its blocks in no order: each would wait for the disk until all have been met
// (measured: 28 µs a look-up on the average, where one in memory takes 5).
type warmth struct {
	asked atomic.Int64 // parts that were read
	stop  atomic.Bool

	mu     sync.Mutex // guards what follows
	begun  bool
	closed bool
	done   sync.WaitGroup
}

// readsParts is called for each part that is read.
func (s *Store) readsParts() {
	if w := &s.warmth; w.asked.Load() < warmAfter && w.asked.Add(1) == warmAfter {
		w.begin(s.warmIndex)
	}
}

// begin makes the pass, once.
func (w *warmth) begin(pass func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun && !w.closed {
		w.begun = true
		w.done.Go(pass)
	}
}

// warmIndex is advice: what it can't read shows when it is looked up.
func (s *Store) warmIndex() {
	_, chunks, err := s.packSet()
	if err != nil {
		return
	}
	s.places.room(max(chunks, leastPlaces))
	if chunks > warmMost {
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
