package blockcache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// counting loads blocks of 10 bytes and counts the loads.
func counting(loads *atomic.Int32, number int64) func() ([]byte, error) {
	return func() ([]byte, error) {
		loads.Add(1)
		b := make([]byte, 10)
		b[0] = byte(number)
		return b, nil
	}
}

func TestKeepsTheMostRecent(t *testing.T) {
	c := New(30)
	var loads atomic.Int32
	get := func(number int64) {
		t.Helper()
		b, err := c.Get(t.Context(), number, counting(&loads, number))
		if err != nil || len(b) != 10 || b[0] != byte(number) {
			t.Fatalf("block %d: %v, %v", number, b, err)
		}
	}
	for _, step := range []struct{ number, loads int64 }{
		{1, 1}, {2, 2}, {3, 3}, {1, 3}, {4, 4}, // 2 goes
		{1, 4}, {3, 4}, {4, 4}, {2, 5}, // 1 goes
		{3, 5}, {4, 5}, {1, 6},
	} {
		get(step.number)
		if int64(loads.Load()) != step.loads {
			t.Fatalf("after block %d: %d loads, want %d", step.number, loads.Load(), step.loads)
		}
		if c.bytes > 30 || len(c.slots) != c.order.Len() || c.bytes != 10*len(c.slots) {
			t.Fatalf("%d bytes in %d slots", c.bytes, len(c.slots))
		}
	}
}

func TestBoundOfNothing(t *testing.T) {
	var c Cache
	var loads atomic.Int32
	for i := range 3 {
		if b, err := c.Get(t.Context(), 7, counting(&loads, 7)); err != nil || b[0] != 7 || int(loads.Load()) != i+1 {
			t.Fatalf("%v, %v, %d loads", b, err, loads.Load())
		}
	}
}

func TestOneLoadForAll(t *testing.T) {
	c := New(1000)
	var loads atomic.Int32
	started, goOn := make(chan struct{}), make(chan struct{})
	slow := func() ([]byte, error) {
		loads.Add(1)
		close(started)
		<-goOn
		return []byte("block"), nil
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if b, err := c.Get(t.Context(), 1, slow); err != nil || string(b) != "block" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	<-started
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ended, 1, slow); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits with an ended context: %v", err)
	}
	close(goOn)
	all.Wait()
	if loads.Load() != 1 {
		t.Errorf("%d loads", loads.Load())
	}
}

func TestErrorsAreNotKept(t *testing.T) {
	c := New(1000)
	broken := errors.New("broken")
	if _, err := c.Get(t.Context(), 1, func() ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	func() {
		defer func() { recover() }()
		c.Get(t.Context(), 1, func() ([]byte, error) { panic("in load") })
	}()
	var loads atomic.Int32
	if b, err := c.Get(t.Context(), 1, counting(&loads, 1)); err != nil || b[0] != 1 {
		t.Fatal(b, err)
	}
}

// A load that ends with its caller's context must not fail the others.
func TestAnothersContext(t *testing.T) {
	c := New(1000)
	started, goOn := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		c.Get(t.Context(), 1, func() ([]byte, error) {
			close(started)
			<-goOn
			return nil, context.Canceled
		})
	})
	<-started
	var loads atomic.Int32
	for range 5 {
		all.Go(func() {
			if b, err := c.Get(t.Context(), 1, counting(&loads, 1)); err != nil || b[0] != 1 {
				t.Errorf("%v, %v", b, err)
			}
		})
	}
	close(goOn)
	all.Wait()
	if loads.Load() != 1 {
		t.Errorf("%d loads", loads.Load())
	}
}
