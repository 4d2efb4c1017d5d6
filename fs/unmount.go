package fs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// BusyError says that somebody had the mount in use when it was to go.
type BusyError struct {
	Dir      string
	Holders  []Holder // as many as could be seen
	Detached bool     // it was taken out of sight all the same
}

func (e *BusyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "unmount %s: in use", e.Dir)
	if len(e.Holders) == 0 {
		b.WriteString(" by somebody whom this user may not see")
	}
	for i, h := range e.Holders {
		if i == maxTold {
			fmt.Fprintf(&b, " and %d more", len(e.Holders)-i)
			break
		}
		sep := ", "
		if i == 0 {
			sep = " by "
		}
		fmt.Fprintf(&b, "%s%v", sep, h)
	}
	if e.Detached {
		b.WriteString("; detached: what is open stays readable until it is closed or this process ends")
	} else {
		b.WriteString("; close it and try again")
	}
	return b.String()
}

// Unwrap makes a BusyError an EBUSY.
func (e *BusyError) Unwrap() error { return syscall.EBUSY }

const (
	maxTold       = 5 // holders in a message
	busyPoll      = 100 * time.Millisecond
	quickTries    = 4 // a reader that just closed is gone after a moment
	quickPause    = 20 * time.Millisecond
	abortPatience = time.Second
)

// Unmount takes the mount down and returns when nothing of it uses the store.
//
// No new opens are let in. While the mount is busy its holders are logged, and
// it is tried again until grace is over, ctx ends, or Unmount is called a
// second time. Then it is detached: it disappears, and what is open can be read
// on until ctx ends, when the connection is aborted. The result is then a
// *BusyError that tells the holders.
//
// With a negative grace a busy mount stays as it was: the *BusyError has not
// Detached set.
func (m *Mounted) Unmount(ctx context.Context, grace time.Duration) error {
	for {
		mine, other := m.begin()
		if mine != nil {
			defer m.end(mine)
			return m.unmount(ctx, grace, mine.hurry)
		}
		select {
		case <-m.done:
			return nil
		case <-other.ended:
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: %w", m.dir, ctx.Err())
		}
	}
}

// attempt is an Unmount under way.
type attempt struct {
	hurried sync.Once
	hurry   chan struct{} // closed: don't wait any longer
	ended   chan struct{}
}

// begin begins an attempt, or hurries the one that is under way.
func (m *Mounted) begin() (mine, other *attempt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.going; a != nil {
		a.hurried.Do(func() { close(a.hurry) })
		return nil, a
	}
	m.going = &attempt{hurry: make(chan struct{}), ended: make(chan struct{})}
	return m.going, nil
}

func (m *Mounted) end(a *attempt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.going = nil
	close(a.ended)
}

func (m *Mounted) unmount(ctx context.Context, grace time.Duration, hurry <-chan struct{}) error {
	m.tree.closing.Store(true)
	err := m.tryUnmount(ctx, grace, hurry)
	var busy *BusyError
	switch {
	case err == nil:
		return m.drain(ctx)
	case !errors.As(err, &busy) || grace < 0:
		m.tree.closing.Store(false)
		return err
	}
	if err := m.removeOwn(detach); err != nil {
		m.tree.closing.Store(false)
		return fmt.Errorf("unmount %s: detach: %w", m.dir, err)
	}
	busy.Detached = true
	if err := m.drain(ctx); err != nil {
		return errors.Join(busy, err)
	}
	return busy
}

// tryUnmount unmounts within grace, or returns why not: a *BusyError, or what
// no waiting helps against.
func (m *Mounted) tryUnmount(ctx context.Context, grace time.Duration, hurry <-chan struct{}) error {
	var busy *BusyError
	deadline := time.Now().Add(grace)
	for try := 0; ; try++ {
		err := m.removeOwn(unmount)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EBUSY):
			return fmt.Errorf("unmount %s: %w", m.dir, err)
		}
		pause := quickPause
		if try >= quickTries {
			pause = busyPoll
			if busy == nil {
				busy = m.busy()
				m.tree.log.Warn("the mount is in use", "mount", m.dir, "holders", fmt.Sprint(busy.Holders),
					"do", "close what is listed, or stop again to detach the mount at once")
			}
			if !time.Now().Before(deadline) {
				return busy
			}
		}
		select {
		case <-time.After(pause):
		case <-m.done:
			return nil
		case <-hurry:
			return m.busy()
		case <-ctx.Done():
			return m.busy()
		}
	}
}

func (m *Mounted) busy() *BusyError { return &BusyError{Dir: m.dir, Holders: holders(m.dir, m.dev)} }

// drain waits for the last close, or aborts the connection when ctx ends
// before it.
func (m *Mounted) drain(ctx context.Context) error {
	if m.wait(ctx) == nil {
		return nil
	}
	if err := abort(m.dev); err != nil {
		return fmt.Errorf("unmount %s: abort: %w", m.dir, err)
	}
	select {
	case <-m.done:
		return nil
	case <-time.After(abortPatience):
		return fmt.Errorf("unmount %s: requests go on although the connection was aborted", m.dir)
	}
}

// removeOwn removes this mount and no other: somebody may have unmounted it
// meanwhile, and mounted something else there.
func (m *Mounted) removeOwn(remove func(string) error) error {
	select {
	case <-m.done:
		return nil
	default:
	}
	if top, ok, err := topMount(m.dir); err == nil && (!ok || top.dev != m.dev) {
		return m.elsewhere(ok)
	}
	return remove(m.dir)
}

// elsewhere says what it means that the mount is not on top of its directory.
func (m *Mounted) elsewhere(covered bool) error {
	if covered {
		return fmt.Errorf("another filesystem is mounted over %s: %w", m.dir, syscall.EBUSY)
	}
	return nil // detached already: it ends with the last close
}
