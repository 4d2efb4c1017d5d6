package guesttest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"holdfast/fs/guest"
)

// Limits of a reader on any volume, as the issue sets them.
const (
	maxTime   = 5 * time.Second
	maxMemory = 256 << 20
)

// Mutate opens and walks n images that differ from the one at path in a few
// of the bytes that the reader reads, the same ones for the same seed. Any
// error will do; a panic, more than 5 s, more than 256 MiB or a break of the
// contract fails. The image should be small: it is held in memory, and walked
// n times.
func Mutate(t testing.TB, image string, open OpenFunc, n int, seed uint64) {
	t.Helper()
	content, ranges := trace(t, image, open)
	stop := watchMemory()
	opened, noticed, slowest := 0, 0, time.Duration(0)
	for i := range n {
		m := mutate(content, ranges, rand.New(rand.NewPCG(seed, uint64(i))))
		start := time.Now()
		r := limited(m, open)
		slowest = max(slowest, time.Since(start))
		if r.broken != nil {
			t.Errorf("mutant %d of seed %d (%d bytes changed): %v", i, seed, len(m.patches), r.broken)
			break
		}
		if r.openErr == nil {
			opened++
		}
		if r.openErr != nil || r.walkErr != nil {
			noticed++
		}
	}
	if peak := stop(); peak > maxMemory {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
	t.Logf("%d mutants of %d ranges read, %d of them opened, %d gave an error, the slowest took %v", n, len(ranges), opened, noticed, slowest.Round(time.Millisecond))
	if opened == 0 {
		t.Error("no mutant could be opened: they reach no further than the first check")
	}
}

// trace reads the image and finds what the reader reads of it, but for the
// content of files: what changes there does not lead anywhere.
func trace(t testing.TB, image string, open OpenFunc) ([]byte, []guest.Range) {
	t.Helper()
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	v := &traced{Volume: &memory{image: content}, ranges: map[guest.Range]bool{}}
	fs, err := open(context.Background(), v)
	if err != nil {
		t.Fatalf("open the unchanged image: %v", err)
	}
	w := newWalk(context.Background(), fs)
	w.noContent = true
	w.all()
	if w.broken != nil || w.failed != nil {
		t.Fatalf("walk of the unchanged image: %v, %v", w.broken, w.failed)
	}
	return content, v.sorted()
}

// outcome is what came of one mutant.
type outcome struct {
	openErr, walkErr error // what the reader said
	broken           error // a failure of the reader
}

// limited opens and walks a volume within the limit of time.
func limited(v guest.Volume, open OpenFunc) outcome {
	done := make(chan outcome, 1)
	// The context has no end: the reader must come to one by itself.
	ctx := context.Background()
	go func() {
		fs, err := open(ctx, v)
		if err != nil {
			done <- outcome{openErr: err}
			return
		}
		w := newWalk(ctx, fs)
		w.all()
		done <- outcome{walkErr: w.failed, broken: w.broken}
	}()
	select {
	case o := <-done:
		return o
	case <-time.After(maxTime):
		stacks := make([]byte, 64<<10)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return outcome{broken: fmt.Errorf("took longer than %v:\n%s", maxTime, stacks)}
	}
}

// watchMemory samples the heap until the function is called, which gives the
// growth over its start.
func watchMemory() (stop func() uint64) {
	heap := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	start, peak := heap(), uint64(0)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			peak = max(peak, heap())
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(quit)
		<-done
		return peak - min(start, peak)
	}
}

// Fuzz fuzzes the bytes that the reader reads of the image at path: an input
// is a list of changes, six bytes each (place among those bytes as uint32,
// width 1, 2, 4 or 8 and order, value).
func Fuzz(f *testing.F, image string, open OpenFunc) {
	content, ranges := trace(f, image, open)
	total := int64(0)
	for _, r := range ranges {
		total += r.Length
	}
	f.Add([]byte{})
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 64 {
		seed := make([]byte, 6*(1+i/8))
		for k := range seed {
			seed[k] = byte(rnd.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		m := &memory{image: content}
		for ; len(input) >= 6 && len(m.patches) < 400; input = input[6:] {
			at := placeAmong(ranges, int64(binary.LittleEndian.Uint32(input))%total)
			for i := range int64(1) << (input[4] & 3) {
				value := input[5]
				if input[4]&4 != 0 && i > 0 {
					value = 0
				}
				m.put(at+i, value)
			}
		}
		m.settle()
		if o := limited(m, open); o.broken != nil {
			t.Fatal(o.broken)
		}
	})
}

// placeAmong maps a place among all bytes of the ranges to the volume.
func placeAmong(ranges []guest.Range, at int64) int64 {
	for _, r := range ranges {
		if at < r.Length {
			return r.Offset + at
		}
		at -= r.Length
	}
	return 0
}

// Truncate opens and walks the image as if it ended early, at n places and at
// every byte of the first 4 KiB. It must fail or show what is there; when the
// end is cut off, somewhere an error must show.
func Truncate(t testing.TB, image string, open OpenFunc, n int) {
	t.Helper()
	content, _ := trace(t, image, open)
	var places []int
	for i := range min(4096, len(content)) {
		places = append(places, i)
	}
	for i := range n {
		places = append(places, len(content)/n*i)
	}
	for _, size := range places {
		if err := truncated(content[:size], open); err != nil {
			t.Fatalf("cut off at %d of %d: %v", size, len(content), err)
		}
	}
}

// truncated walks what is left.
func truncated(content []byte, open OpenFunc) error {
	fs, err := open(context.Background(), &memory{image: content})
	if err != nil {
		return nil
	}
	if len(content) < 1024 {
		return fmt.Errorf("opened")
	}
	return Walk(context.Background(), fs)
}
