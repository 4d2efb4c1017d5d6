package main

import (
	"sync"
	"testing"
	"time"
)

// Memory is given back once for each time that readers came to rest, and not more often
// than once a minute.
func TestMemoryIsGivenBackAtRest(t *testing.T) {
	began := time.Unix(1e9, 0)
	var r resting
	for i, step := range []struct {
		at      time.Duration
		readers int64
		want    bool
	}{
		{0, 0, false}, {restLooks, 0, false}, {restEvery, 0, false}, // nobody ever read
		{restEvery + restLooks, 1, false}, {restEvery + 2*restLooks, 2, false},
		{restEvery + 3*restLooks, 2, true}, {restEvery + 4*restLooks, 2, false}, // once
		{3 * restEvery, 2, false},
		{3*restEvery + restLooks, 3, false}, {3*restEvery + 2*restLooks, 3, true},
		{3*restEvery + 3*restLooks, 9, false}, {3*restEvery + 4*restLooks, 9, false}, // too early
		{4*restEvery + 2*restLooks - 1, 9, false}, {4*restEvery + 2*restLooks, 9, true},
		{9 * restEvery, 9, false},
	} {
		if got := r.look(began.Add(step.at), step.readers); got != step.want {
			t.Errorf("look %d, at %v of %d requests: %v", i, step.at, step.readers, got)
		}
	}
}

// What lies in pools is let go as well.
func TestGiveBackEmptiesPools(t *testing.T) {
	var p sync.Pool
	for range 100 { // the race detector's pools lose some
		p.Put(new([1 << 10]byte))
	}
	giveBack()
	if got := p.Get(); got != nil {
		t.Errorf("a pool has %T", got)
	}
}

// Nobody waits for the end of a mount that gives memory back.
func TestGiveBackEnds(t *testing.T) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		giveBackAtRest(done, func() int64 { return 0 })
	}()
	close(done)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
}
