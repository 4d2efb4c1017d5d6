package owner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	firstPause = 2 * time.Millisecond
	lastPause  = 50 * time.Millisecond
	noticeTime = 10 * time.Second // between two messages of a long wait
)

// enter returns the way to the store, found anew where there is none. The
// caller leaves its ops gate.
func (h *Handle) enter(ctx context.Context) (*incarnation, error) {
	for {
		inc := h.cur.Load()
		if inc == nil {
			var err error
			if inc, err = h.attach(ctx); err != nil {
				return nil, err
			}
		}
		if inc.ops.enter() {
			return inc, nil
		}
		// Close has shut the gate; attach says so.
		if h.closed.Load() {
			return nil, ErrClosed
		}
	}
}

// attach returns the way to the store after it looked for one, one caller at a
// time.
func (h *Handle) attach(ctx context.Context) (*incarnation, error) {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.base.Done():
		return nil, ErrClosed
	}
	defer func() { <-h.turn }()
	if h.closed.Load() {
		return nil, ErrClosed
	}
	if inc := h.cur.Load(); inc != nil {
		return inc, nil
	}
	search, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.base, cancel)()
	inc, err := h.find(search)
	if err != nil {
		if h.base.Err() != nil {
			return nil, ErrClosed
		}
		return nil, err
	}
	h.cur.Store(inc)
	return inc, nil
}

// drop gives up an owner that was lost, unless that was done already.
func (h *Handle) drop(inc *incarnation) {
	if inc.cli != nil && h.cur.CompareAndSwap(inc, nil) {
		inc.cli.retire()
	}
}

// find becomes the owner or reaches it. Both can fail at any moment while
// owners come and go, so it tries again, with pauses, while that makes sense:
// as long as an owner says that it is coming or going, and for the options'
// Wait where the lock is held and nobody answers.
func (h *Handle) find(ctx context.Context) (*incarnation, error) {
	w := newWait(h.opts.Wait)
	for {
		lk, err := tryLock(h.dir, h.who())
		if err == nil {
			return h.own(lk)
		}
		if !errors.Is(err, errHeld) {
			return nil, fmt.Errorf("open store %s: %w", h.path, err)
		}
		c := newClient(h.base, h.dir, h.codec, h.cfg.Info)
		err = c.greet(ctx)
		if err == nil {
			return &incarnation{API: c, cli: c}, nil
		}
		c.retire()
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("open store %s: wait for %v: %w", h.path, readHolder(h.dir), ctx.Err())
		case errors.Is(err, errStarting):
			w.restart() // it is alive and says so: only the caller's context ends this
		case !errors.Is(err, ErrOwnerLost) && !errors.Is(err, errClosing):
			return nil, fmt.Errorf("open store %s: %w", h.path, err)
		}
		if w.notice() {
			h.opts.Log.Warn("waiting for the store's owner", "store", h.path, "owner", readHolder(h.dir).String(), "reason", err)
		}
		if !w.pause(ctx) {
			return nil, fmt.Errorf("open store %s: it is in use by %v, which does not answer: wait for that process or end it: %w", h.path, readHolder(h.dir), err)
		}
	}
}

func (h *Handle) who() holder {
	return holder{PID: os.Getpid(), Command: h.opts.Command, Since: time.Now().UTC().Truncate(time.Second)}
}

// wait paces attempts and bounds their time.
type wait struct {
	most   time.Duration
	began  time.Time
	next   time.Duration
	told   time.Time
	silent time.Duration // until the next notice
}

func newWait(most time.Duration) *wait {
	now := time.Now()
	return &wait{most: most, began: now, next: firstPause, told: now, silent: time.Second}
}

func (w *wait) restart() { w.began = time.Now() }

// notice reports whether it is time to say that there is a wait.
func (w *wait) notice() bool {
	if time.Since(w.told) < w.silent {
		return false
	}
	w.told, w.silent = time.Now(), noticeTime
	return true
}

// pause sleeps, each time longer, and reports whether another attempt is in
// time. When ctx ends it returns at once; the next attempt notices.
func (w *wait) pause(ctx context.Context) bool {
	if time.Since(w.began) >= w.most {
		return false
	}
	t := time.NewTimer(w.next)
	defer t.Stop()
	w.next = min(2*w.next, lastPause)
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}
