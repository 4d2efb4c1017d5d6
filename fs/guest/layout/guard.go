package layout

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"holdfast/fs/guest"
)

// meter counts and bounds what is read of all disks.
type meter struct {
	left   atomic.Int64 // that may still be read
	read   atomic.Int64
	closed atomic.Bool // nothing may be read any more
}

var (
	errBudget    = errors.New("its metadata are more than a scan may read")
	errAbandoned = errors.New("its reader did not come to an end in time")
)

// allow sets what may be read from now on.
func (m *meter) allow(bytes int64) { m.left.Store(bytes) }

// metered is a disk whose reads count.
type metered struct {
	guest.Volume
	*meter
}

// ReadAt implements io.ReaderAt.
func (v metered) ReadAt(p []byte, off int64) (int, error) {
	if v.closed.Load() {
		return 0, errAbandoned
	}
	if v.left.Add(-int64(len(p))) < 0 {
		return 0, errBudget
	}
	n, err := v.Volume.ReadAt(p, off)
	v.read.Add(int64(n))
	return n, err
}

// guard runs what reads hostile bytes: a panic is an error, and so is the end
// of its time. When it goes on all the same for the time of grace, it is left
// behind, with nothing more to read: the scan is over then.
func guard[T any](ctx context.Context, s *scan, patience time.Duration, fn func(context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	limited, cancel := context.WithTimeoutCause(ctx, patience, errAbandoned)
	defer cancel()
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if r := recover(); r != nil {
				o.err = fmt.Errorf("its reader failed: %v\n%s", r, debug.Stack())
			}
			done <- o
		}()
		o.value, o.err = fn(limited)
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-limited.Done():
	}
	select {
	case o := <-done:
		if o.err != nil {
			o.err = context.Cause(limited)
		}
		return o.value, o.err
	case <-time.After(s.options.grace):
		s.meter.closed.Store(true)
		var none T
		return none, context.Cause(limited)
	}
}
