package fs

import (
	"math/rand/v2"
	"testing"
)

func TestStreamsFollowSequence(t *testing.T) {
	var s streams
	const n = 128 << 10
	var ahead int64
	for i := range int64(100) {
		from, to, seq := s.note(i*n, n)
		if seq != (i > 0) {
			t.Fatalf("read %d: sequential is %v", i, seq)
		}
		if to > from {
			if from < (i+1)*n || from < ahead || to-(i+1)*n > lastWindow {
				t.Fatalf("read %d: prefetch %d to %d, came to %d", i, from, to, ahead)
			}
			ahead = to
		}
		if i > 10 && ahead < (i+1)*n+lastWindow/2 {
			t.Fatalf("read %d: only %d ahead", i, ahead-(i+1)*n)
		}
	}
}

// The kernel's readahead sends pairs in either order.
func TestStreamsBearReorder(t *testing.T) {
	var s streams
	const n = 1 << 20
	s.note(0, n)
	s.note(n, n)
	for i := int64(2); i < 40; i += 2 {
		if _, _, seq := s.note((i+1)*n, n); !seq {
			t.Fatalf("read %d was taken for random", i+1)
		}
		if _, _, seq := s.note(i*n, n); !seq {
			t.Fatalf("read %d was taken for random", i)
		}
		s.note((i+2)*n, n)
		i++
	}
}

func TestStreamsFollowSeveral(t *testing.T) {
	var s streams
	const n = 64 << 10
	for i := range int64(50) {
		for k := range int64(maxStreams) {
			if _, _, seq := s.note(k<<30+i*n, n); seq != (i > 0) {
				t.Fatalf("stream %d, read %d: sequential is %v", k, i, seq)
			}
		}
	}
}

func TestStreamsIgnoreRandom(t *testing.T) {
	var s streams
	rnd := rand.New(rand.NewPCG(1, 1))
	var asked int64
	for range 10000 {
		from, to, _ := s.note(rnd.Int64N(1<<30)/4096*4096, 4096)
		asked += max(0, to-from)
	}
	if asked > 10<<20 {
		t.Errorf("10000 random reads prefetched %d bytes", asked)
	}
	// A stream that ends in random reads nearby ends as a stream.
	for i := range int64(10) {
		s.note(1<<40+i*4096, 4096)
	}
	last := false
	for range 100 {
		_, _, last = s.note(1<<40+rnd.Int64N(4<<20), 4096)
	}
	if last {
		t.Error("random reads near a stream keep it")
	}
}
