package chunkstore

import (
	"context"
	"time"
)

const (
	breathWork  = 20 * time.Millisecond  // of work between two looks
	breathShare = 5                      // beside others one part in so many is worked
	breathMost  = 500 * time.Millisecond // of rest at a time
)

// breath paces background work: it runs freely while nobody uses the store and
// takes a fifth of the time while somebody does.
type breath struct {
	last time.Time
	own  int64 // operations that the prune itself makes: it reads maps
	seen int64 // operations of others at the last look
}

// breathe is called between small steps of work.
func (p *pruner) breathe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := &p.breath
	now := time.Now()
	worked := now.Sub(b.last)
	if worked < breathWork && !b.last.IsZero() {
		return nil
	}
	ops := p.pruning.ops.Load() - b.own
	busy := ops > b.seen && !b.last.IsZero()
	if b.last, b.seen = now, ops; !busy {
		return nil
	}
	t := time.NewTimer(min((breathShare-1)*worked, breathMost))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	b.last = time.Now()
	return nil
}
