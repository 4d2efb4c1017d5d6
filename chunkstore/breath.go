package chunkstore

import (
	"context"
	"time"
)

const (
	breathWork  = 20 * time.Millisecond  // of work between two looks at who else is there
	breathShare = 5                      // beside others one part in so many is worked
	breathLook  = 10 * time.Millisecond  // of rest between two looks
	breathMost  = 10 * time.Second       // of rest at a time
	breathAfter = 100 * time.Millisecond // for which a read counts as use: there are gaps between two
)

// breathe is called between small steps of a prune. It paces it: it runs freely
// while nobody uses the store and takes a fifth of the time while somebody does. A
// step that took long, as to make a pack durable, is paid for in full, unless the
// others have gone before that.
func (p *pruner) breathe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now()
	if p.worked.IsZero() {
		p.worked = now
	}
	if worked := now.Sub(p.worked); worked >= breathWork {
		p.rest(ctx, min((breathShare-1)*worked, breathMost))
		p.worked = time.Now()
	}
	return ctx.Err()
}

// rest waits for so long, or until nobody uses the store.
func (p *pruner) rest(ctx context.Context, most time.Duration) {
	end := time.Now().Add(most)
	t := time.NewTicker(breathLook)
	defer t.Stop()
	for p.inUse() && time.Now().Before(end) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// inUse reports whether somebody works with the store, or did a moment ago.
func (s *Store) inUse() bool {
	now, last := s.Working()
	return now || !last.IsZero() && time.Since(last) < breathAfter
}
