package chunkstore

import (
	"context"
	"sync"
)

// packUsers keeps a pack for one at a time of those who work on whole packs: a
// proof, a repair, a prune. Reads of chunks don't ask.
type packUsers struct {
	mu   sync.Mutex // guards busy
	busy map[uint64]chan struct{}
}

// tryLock takes pack n if nobody has it.
func (u *packUsers) tryLock(n uint64) bool {
	return u.take(n) == nil
}

// take takes pack n, or returns what is closed when it is free.
func (u *packUsers) take(n uint64) chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if wait := u.busy[n]; wait != nil {
		return wait
	}
	if u.busy == nil {
		u.busy = map[uint64]chan struct{}{}
	}
	u.busy[n] = make(chan struct{})
	return nil
}

// lock waits for pack n.
func (u *packUsers) lock(ctx context.Context, n uint64) error {
	for {
		wait := u.take(n)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (u *packUsers) unlock(n uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	close(u.busy[n])
	delete(u.busy, n)
}
