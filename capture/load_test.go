package capture

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// watched is a disk of regions, all data, and a Cutter: it counts what is read and what
// is worked on. No read ends before as many have begun as there are to be at once, no cut
// before all buffers were read into once.
type watched struct {
	*memDisk
	readers, buffers int64
	some, full       chan struct{} // closed when as many reads as readers, as buffers have begun

	begun, now, done   atomic.Int64 // reads that have begun, that are under way; cuts that have ended
	mostRead, mostHeld atomic.Int64 // at once: under way; read and not yet cut
	stuck              atomic.Bool
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	raise(&w.mostRead, w.now.Add(1))
	defer w.now.Add(-1)
	begun := w.begun.Add(1)
	raise(&w.mostHeld, begun-w.done.Load()) // what ended meanwhile makes it less, never more
	if begun == w.readers {
		close(w.some)
	}
	if begun == w.buffers {
		close(w.full)
	}
	w.wait(w.some)
	return w.memDisk.ReadAt(p, off)
}

func (w *watched) Name() string { return "watched" }

func (w *watched) Cut(buf []int, n int64, length int) []int {
	w.wait(w.full)
	buf = Grid{}.Cut(buf, n, length)
	w.done.Add(1)
	return buf
}

func (w *watched) wait(c <-chan struct{}) {
	if w.stuck.Load() {
		return
	}
	select {
	case <-c:
	case <-time.After(time.Minute):
		w.stuck.Store(true)
	}
}

func raise(most *atomic.Int64, n int64) {
	for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
	}
}

// TestReadsGoOnWhileRegionsAreHashed: into each buffer, but no further, and as many at
// once as are good for the source.
func TestReadsGoOnWhileRegionsAreHashed(t *testing.T) {
	const regions = 30
	data := make([]byte, regions*disk.RegionSize)
	rand.NewChaCha8([32]byte{11}).Read(data[len(data)-disk.RegionSize:])
	for i := range regions - 1 { // small, and each its own
		data[i*disk.RegionSize] = byte(i + 1)
	}
	f := newFixture(t)
	for i, n := range []int{1, 2, 3, 4, 7, 24} {
		w := &watched{memDisk: allData(data), readers: int64(max(1, (n-2)/2)), buffers: int64(n), some: make(chan struct{}), full: make(chan struct{})}
		o := options("vm", i, w.memDisk)
		o.Disks[0].Source = &source.Opened{Disk: w, Format: "raw"}
		o.VM = string(rune('a' + i)) // no previous version
		o.Workers, o.Cutter, o.KeepFree, o.KeepSwap = n, w, true, true
		v, err := Run(t.Context(), f.store, o)
		if err != nil {
			t.Fatal(err)
		}
		f.check(v, w.memDisk)
		if w.stuck.Load() || w.mostHeld.Load() > int64(n) || w.mostRead.Load() != w.readers {
			t.Errorf("%d buffers: at the most %d regions were held and %d read at once; stuck: %v", n, w.mostHeld.Load(), w.mostRead.Load(), w.stuck.Load())
		}
	}
}

func allData(b []byte) *memDisk {
	return &memDisk{b: b, extents: []source.Extent{{Length: int64(len(b)), Data: true}}}
}

var errNoAnswers = errors.New("lost")

// TestFailedWorkersEndReads: where all workers fail at once, nobody gives a buffer back,
// and who waits for one does not wait on.
func TestFailedWorkersEndReads(t *testing.T) {
	const regions = 30
	data := make([]byte, regions*disk.RegionSize)
	for i := range regions {
		data[i*disk.RegionSize] = byte(i + 1)
	}
	f := newFixture(t)
	for _, n := range []int{1, 3, 7} {
		var asked atomic.Int64
		all := make(chan struct{})
		s := &hookedStore{Store: f.store, has: func(chunkstore.Session, context.Context, []pack.ID, []bool) error {
			if asked.Add(1) == int64(n) { // then all workers are at it
				close(all)
			}
			<-all
			return errNoAnswers
		}}
		o := options("vm", 1, allData(data))
		o.Workers, o.KeepFree, o.KeepSwap = n, true, true
		ended := make(chan error)
		go func() {
			_, err := Run(t.Context(), s, o)
			ended <- err
		}()
		select {
		case err := <-ended:
			if !errors.Is(err, errNoAnswers) {
				t.Errorf("%d workers: %v", n, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d workers failed, and the capture goes on", n)
		}
	}
}
