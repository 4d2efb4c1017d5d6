package background

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const hang = 2 * time.Minute

// until waits for a state, not for a time.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !is(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// reading is a job that reads for ever.
type reading struct {
	from  io.ReaderAt
	reads atomic.Int64
	steps atomic.Int64
	err   atomic.Pointer[error]
	prio  atomic.Int64
}

func (j *reading) Name() string   { return "reading" }
func (j *reading) Status() Status { return Status{Done: j.reads.Load()} }

func (j *reading) Step(ctx context.Context, turn *Turn) (time.Time, error) {
	j.steps.Add(1)
	class, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, uintptr(unix.Gettid()), 0)
	j.prio.Store(int64(class) >> ioprioClassShift)
	if err := j.err.Load(); err != nil {
		return time.Time{}, *err
	}
	b := make([]byte, 16)
	for range 10 {
		if _, err := turn.Reader(ctx, j.from).ReadAt(b, 0); err != nil {
			return time.Time{}, err
		}
		j.reads.Add(1)
	}
	return time.Time{}, nil
}

// TestYields: while somebody works nothing is read, and after it reading goes on.
func TestYields(t *testing.T) {
	var working atomic.Bool
	var since atomic.Int64
	j := &reading{from: bytes.NewReader(make([]byte, 64))}
	r := Start(Options{Working: func() (bool, time.Time) {
		last := time.Time{}
		if n := since.Load(); n != 0 {
			last = time.Unix(0, n)
		}
		return working.Load(), last
	}}, j)
	defer r.Stop()
	until(t, "it reads", func() bool { return j.reads.Load() > 100 })
	if j.prio.Load() != ioprioClassIdle {
		t.Fatalf("the thread's disk priority is of class %d", j.prio.Load())
	}
	for range 3 {
		working.Store(true)
		until(t, "it yields", func() bool { return r.Status()[0].State == Yielding })
		before := j.reads.Load()
		for range 20 {
			runtime.Gosched()
			time.Sleep(time.Millisecond)
		}
		if after := j.reads.Load(); after != before || r.Status()[0].State != Yielding {
			t.Fatalf("%d reads while somebody works", after-before)
		}
		since.Store(time.Now().UnixNano())
		working.Store(false)
		until(t, "it goes on", func() bool { return j.reads.Load() > before && r.Status()[0].State == Running })
	}
}

// TestHurry: who is behind his time does not wait for ever.
func TestHurry(t *testing.T) {
	turn := newTurn(Options{Working: func() (bool, time.Time) { return true, time.Time{} }})
	turn.Hurry(true)
	if err := turn.Take(context.Background(), 1); err != nil || turn.Taken() != 1 {
		t.Fatal(err)
	}
	turn.Hurry(false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- turn.Take(ctx, 1) }()
	until(t, "it yields", turn.yielding.Load)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || turn.Taken() != 1 {
		t.Fatalf("leave was given: %v", err)
	}
}

// stuck blocks its reads until it is told.
type stuck struct{ in, out chan struct{} }

func (s stuck) ReadAt(b []byte, _ int64) (int, error) {
	s.in <- struct{}{}
	<-s.out
	return len(b), nil
}

// TestStopEndsWithTheRead: Stop waits for the one read that is under way, and
// nothing is read after it.
func TestStopEndsWithTheRead(t *testing.T) {
	s := stuck{make(chan struct{}), make(chan struct{})}
	j := &reading{from: s}
	r := Start(Options{}, j)
	<-s.in
	stopped := make(chan struct{})
	go func() { r.Stop(); close(stopped) }()
	until(t, "the context ends", func() bool { return r.turn != nil })
	s.out <- struct{}{}
	for {
		select {
		case <-s.in: // begun before Stop had cancelled
			s.out <- struct{}{}
			continue
		case <-stopped:
		case <-time.After(hang):
			t.Fatal("Stop hangs")
		}
		break
	}
	if st := r.Status()[0].State; st != Stopped {
		t.Fatalf("state %s after Stop", st)
	}
	// A job that yields or waits for its pace stops, too.
	for _, o := range []Options{{Working: func() (bool, time.Time) { return true, time.Time{} }}, {Rate: 1}} {
		j := &reading{from: bytes.NewReader(make([]byte, 64))}
		r := Start(o, j)
		until(t, "it began", func() bool { return j.steps.Load() > 0 })
		r.Stop()
	}
}

// waiting is a job that has nothing to do for an hour.
type waiting struct {
	mu    sync.Mutex // guards steps
	steps int
}

func (j *waiting) Name() string   { return "waiting" }
func (j *waiting) Status() Status { return Status{} }
func (j *waiting) Step(context.Context, *Turn) (time.Time, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.steps++
	return time.Now().Add(time.Hour), nil
}

func (j *waiting) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.steps
}

// TestJobsTakeTurns: one job that fails or never ends takes nothing from the
// other, and who waits is called when woken.
func TestJobsTakeTurns(t *testing.T) {
	bad := errors.New("the disk is gone")
	j, w := &reading{from: bytes.NewReader(make([]byte, 64))}, &waiting{}
	r := Start(Options{}, j, w)
	defer r.Stop()
	state := func(i int, name string) State {
		for _, st := range r.Status() {
			if st.Job == name {
				return st.State
			}
		}
		return ""
	}
	until(t, "both ran", func() bool { return j.steps.Load() > 3 && w.count() == 1 && state(1, "waiting") == Waiting })
	j.err.Store(&bad)
	until(t, "it failed", func() bool { return state(0, "reading") == Failed })
	n := j.steps.Load()
	r.Wake()
	until(t, "it was woken", func() bool { return w.count() == 2 })
	if j.steps.Load() != n {
		t.Fatal("a job that failed was tried again at once")
	}
}
