package fs

import "sync"

// What is read ahead. Windows are in bytes of the image.
const (
	maxStreams  = 8 // of one open file: qemu's guest reads several files
	firstWindow = 256 << 10
	lastWindow  = 2 << 20 // measured: more brings nothing
	reorder     = 4 << 20 // the kernel's readahead comes out of order within this
	maxStrays   = 8       // reads near a stream, but not its next, before it ends
)

// streams notices sequential reads of one open file. A read that begins where
// another ended makes a stream; reads near its front (the kernel sends several
// at a time, in any order) keep it. It is safe for concurrent use.
type streams struct {
	mu    sync.Mutex // guards what follows
	list  [maxStreams]stream
	clock uint64
}

type stream struct {
	next   int64 // where its reads end
	ahead  int64 // prefetched up to here
	window int64 // 0: not a stream yet, but one read
	strays int
	used   uint64 // clock of the last read
}

// note takes a read of n bytes at off. It returns what to prefetch, and
// whether the read belongs to a stream.
func (s *streams) note(off, n int64) (from, to int64, sequential bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	st := s.find(off)
	if st == nil {
		st = s.oldest()
		*st = stream{next: off + n, used: s.clock}
		return 0, 0, false
	}
	st.used = s.clock
	st.step(off, off+n)
	from, to = st.plan()
	return from, to, st.window > 0
}

// find returns the stream that a read at off continues: exactly, or roughly
// where there is a stream already.
func (s *streams) find(off int64) *stream {
	var near *stream
	for i := range s.list {
		st := &s.list[i]
		switch {
		case st.used == 0:
		case st.next == off:
			return st
		case st.window > 0 && off > st.next-reorder && off < st.next+reorder:
			near = st
		}
	}
	return near
}

func (s *streams) oldest() *stream {
	old := &s.list[0]
	for i := range s.list {
		if s.list[i].used < old.used {
			old = &s.list[i]
		}
	}
	return old
}

func (st *stream) step(off, end int64) {
	if off == st.next {
		st.strays = 0
		st.window = min(max(2*st.window, firstWindow), lastWindow)
	} else if st.strays++; st.strays > maxStrays {
		*st = stream{next: end, used: st.used}
		return
	}
	st.next = max(st.next, end)
}

// plan returns what to prefetch now: nothing while half a window is ahead, so
// that many small reads make few plans.
func (st *stream) plan() (from, to int64) {
	if st.window == 0 || st.ahead-st.next > st.window/2 {
		return 0, 0
	}
	from, to = max(st.next, st.ahead), st.next+st.window
	st.ahead = to
	return from, to
}
