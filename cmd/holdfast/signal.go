package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals are what Ctrl-C, SIGTERM and the end of the terminal do: the first ends the context, so that
// a command stops cleanly; the second ends the process at once, which the
// store survives, unless the command has asked to be told of it.
type signals struct {
	stop func()

	mu    sync.Mutex    // guards again
	again chan struct{} // gets the later ones; nil: the second ends the process
}

// interruptible returns a context that the first Ctrl-C or SIGTERM ends.
func interruptible(parent context.Context, con *console) (context.Context, *signals) {
	ctx, cancel := context.WithCancel(parent)
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup(1) does
		signal.Notify(c, syscall.SIGHUP)
	}
	done := make(chan struct{})
	s := &signals{stop: func() { signal.Stop(c); close(done); cancel() }}
	go func() {
		for first := true; ; first = false {
			select {
			case <-done:
				return
			case <-c:
			}
			if !first && !s.tell() {
				con.endProgress()
				os.Exit(int(exitInterrupted))
			}
			cancel()
		}
	}()
	return ctx, s
}

// Again returns a channel that gets the signals after the first, and keeps
// them from ending the process.
func (s *signals) Again() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again == nil {
		s.again = make(chan struct{}, 4)
	}
	return s.again
}

// tell passes a signal on; false: nobody has asked.
func (s *signals) tell() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again == nil {
		return false
	}
	select {
	case s.again <- struct{}{}:
	default: // nobody counts that many
	}
	return true
}
