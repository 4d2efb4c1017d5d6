package cache

import (
	"sync"
	"testing"
)

// TestSpares: a class that ran out has one buffer ready, which is taken once.
func TestSpares(t *testing.T) {
	b := buffers{limit: 1 << 20}
	b.refill() // nothing is wanted
	for class := range sizes {
		if len(b.free[class]) != 0 {
			t.Fatalf("class %d has a spare that nobody wanted", class)
		}
		first := b.get(sizes[class] - 100)
		b.refill()
		b.refill()
		if n := len(b.free[first.class]); n != 1 {
			t.Fatalf("class %d: %d spares, want one", first.class, n)
		}
		spare := b.free[first.class][0]
		if spare == first || spare.class != first.class || len(spare.mem) != sizes[first.class] {
			t.Fatalf("class %d: spare %+v", first.class, spare)
		}
		if got := b.get(sizes[class] - 100); got != spare {
			t.Errorf("class %d: the spare was not taken", class)
		}
		if got := b.get(sizes[class] - 100); got == spare {
			t.Errorf("class %d: the spare was taken twice", class)
		}
	}
}

// TestIdleBuffersAreBounded: what waits is counted and bounded, and the class of which
// the most is there makes room for the others.
func TestIdleBuffersAreBounded(t *testing.T) {
	last := len(sizes) - 1
	b := buffers{limit: int64(3*sizes[last] + sizes[0])}
	count := func() (n int64) {
		for class, of := range b.free {
			n += int64(len(of) * sizes[class])
		}
		return n
	}
	for range 5 {
		b.put(newBuffer(last))
	}
	if n := len(b.free[last]); n != 3 || count() != b.idle {
		t.Fatalf("%d wait, %d bytes of %d: want three", n, b.idle, count())
	}
	for range 2 {
		b.put(newBuffer(0))
	}
	if n, m := len(b.free[0]), len(b.free[last]); n != 2 || m != 2 || count() != b.idle {
		t.Errorf("%d small and %d large ones wait, %d bytes of %d: want two of each", n, m, b.idle, count())
	}
	b.limit = 0
	b.get(1)
	b.get(1)
	b.get(1)
	b.refill()
	b.put(newBuffer(last))
	if b.idle != 0 || count() != 0 {
		t.Errorf("%d bytes wait, of %d, where none may", b.idle, count())
	}
}

// TestSparesAtOnce: nobody gets what another has.
func TestSparesAtOnce(t *testing.T) {
	b := buffers{limit: 1 << 20}
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[*buffer]bool{}
	for range 4 {
		all.Go(func() {
			for range 200 {
				b.refill()
				buf := b.get(4096)
				buf.mem[0]++
				mu.Lock()
				if seen[buf] {
					t.Error("a buffer was handed out twice")
				}
				seen[buf] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
}
