package chunkstore

import (
	"context"
	"sync/atomic"
	"time"
)

// activity tells who works in the background whether somebody is waiting for
// the store: reads, and sessions from their first moment to their last.
type activity struct {
	reads atomic.Int64 // under way
	last  atomic.Int64 // when the last one ended, Unix nanoseconds
}

func (a *activity) begin() { a.reads.Add(1) }

func (a *activity) end() {
	a.last.Store(time.Now().UnixNano())
	a.reads.Add(-1)
}

// Working reports whether somebody reads from the store or has a session open
// now, and when the last read ended (zero: none since Open). Reads through
// Unnoticed are not counted.
func (s *Store) Working() (now bool, last time.Time) {
	if n := s.activity.last.Load(); n != 0 {
		last = time.Unix(0, n)
	}
	if s.activity.reads.Load() > 0 {
		return true, last
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions) > 0, last
}

// Unnoticed returns the store for who works in the background: its reads are
// not work for which the background must wait.
func (s *Store) Unnoticed() Getter { return unnoticed{s} }

type unnoticed struct{ s *Store }

// Get implements Getter.
func (u unnoticed) Get(ctx context.Context, id ID, buf []byte) ([]byte, error) {
	return u.s.get(ctx, id, buf)
}
