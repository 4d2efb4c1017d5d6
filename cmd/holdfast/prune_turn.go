package main

import (
	"context"
	"sync"
)

// pruneTurn lets a prune or a check that somebody calls go before the prune in
// the background. Its zero value is ready.
type pruneTurn struct {
	mu     sync.Mutex // guards what follows
	called int        // prunes and checks that somebody called
	stop   context.CancelFunc
	ended  chan struct{} // closed when the background's ends; nil: none is at work
}

// call stops the background's prune and returns when it has ended; it does not
// begin another before done.
func (t *pruneTurn) call(ctx context.Context) (done func(), err error) {
	t.mu.Lock()
	t.called++
	ended := t.ended
	if ended != nil {
		t.stop()
	}
	t.mu.Unlock()
	done = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.called--
	}
	if ended == nil {
		return done, nil
	}
	select {
	case <-ended:
		return done, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

// begin begins a prune in the background, unless somebody has called one. Its
// context ends when somebody does.
func (t *pruneTurn) begin(ctx context.Context) (_ context.Context, end func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.called > 0 || t.ended != nil {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	t.stop, t.ended = cancel, ended
	return ctx, func() {
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.stop, t.ended = nil, nil
		close(ended)
	}, true
}
