package cache

import (
	"sync"
	"testing"
)

// TestSpares: a class that ran out has one buffer ready, which is taken once.
func TestSpares(t *testing.T) {
	var b buffers
	b.refill() // nothing is wanted
	for class := range sizes {
		if b.spare[class].Load() != nil {
			t.Fatalf("class %d has a spare that nobody wanted", class)
		}
		first := b.get(sizes[class] - 100)
		b.refill()
		spare := b.spare[first.class].Load()
		if spare == nil || spare == first || spare.class != first.class || len(spare.mem) != sizes[first.class] {
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

// TestSparesAtOnce: nobody gets what another has.
func TestSparesAtOnce(t *testing.T) {
	var b buffers
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
