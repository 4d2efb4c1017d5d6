package background

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

const (
	// holdOff is how long nobody must have worked before a job goes on:
	// between two reads of a restore there are gaps, too.
	holdOff = 100 * time.Millisecond
	// lookAgain is how often a job that yields looks whether it may go on.
	lookAgain = 10 * time.Millisecond
	// trickle is how long a job that is behind its time yields before it takes
	// the one read for which it asks.
	trickle = time.Second
)

// Turn is a job's leave to read. It is used by the runner's one goroutine.
type Turn struct {
	opts     Options
	pace     int64     // the job's own, bytes a second; 0: none
	behind   bool      // see Hurry
	next     time.Time // when the pace allows the next read
	yielding atomic.Bool
	taken    atomic.Int64 // bytes
}

func newTurn(opts Options) *Turn { return &Turn{opts: opts} }

// Pace bounds what follows to so many bytes a second, beside the runner's own
// bound. 0 ends that.
func (t *Turn) Pace(rate int64) { t.pace = max(rate, 0) }

// Hurry says whether the job is so far behind its time that it must not wait
// for ever for others to be done: then it takes a read each second beside them.
func (t *Turn) Hurry(behind bool) { t.behind = behind }

// Taken counts the bytes for which leave was given.
func (t *Turn) Taken() int64 { return t.taken.Load() }

// Take waits until n bytes may be read: nobody else works, and the pace allows
// it. Only ctx makes it fail.
func (t *Turn) Take(ctx context.Context, n int) error {
	if err := t.yield(ctx); err != nil {
		return err
	}
	if err := t.keepPace(ctx, n); err != nil {
		return err
	}
	t.taken.Add(int64(n))
	return nil
}

func (t *Turn) yield(ctx context.Context) error {
	began := time.Now()
	for ctx.Err() == nil && t.others() && !(t.behind && time.Since(began) >= trickle) {
		t.yielding.Store(true)
		rest(ctx, lookAgain)
	}
	t.yielding.Store(false)
	return ctx.Err()
}

// others reports whether somebody works, or did a moment ago.
func (t *Turn) others() bool {
	if t.opts.Working == nil {
		return false
	}
	now, last := t.opts.Working()
	return now || !last.IsZero() && time.Since(last) < holdOff
}

func (t *Turn) keepPace(ctx context.Context, n int) error {
	rate := t.opts.Rate
	if t.pace > 0 && (rate == 0 || t.pace < rate) {
		rate = t.pace
	}
	if rate <= 0 {
		return ctx.Err()
	}
	now := time.Now()
	if t.next.Before(now) {
		t.next = now
	}
	wait := t.next.Sub(now)
	t.next = t.next.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	if wait > 0 {
		rest(ctx, wait)
	}
	return ctx.Err()
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Reader returns r as it is read with leave: each read waits for its turn, and
// none begins once ctx has ended.
func (t *Turn) Reader(ctx context.Context, r io.ReaderAt) io.ReaderAt { return &turnReader{ctx, t, r} }

type turnReader struct {
	ctx  context.Context
	turn *Turn
	r    io.ReaderAt
}

func (r *turnReader) ReadAt(b []byte, off int64) (int, error) {
	if err := r.turn.Take(r.ctx, len(b)); err != nil {
		return 0, err
	}
	return r.r.ReadAt(b, off)
}
