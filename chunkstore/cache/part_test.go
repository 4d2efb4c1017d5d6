package cache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/chunkstore/pack"
)

const partSize = 16 << 10

// partSource is a source that gives parts.
type partSource struct {
	source
	asked  atomic.Int64         // GetPart calls
	refuse func(n int) error    // when not nil, may refuse a part
	frame  func(n int) bool     // when not nil, whether chunk n has frames
	block  chan struct{}        // when not nil, GetPart waits for it or its context
	came   chan context.Context // when not nil, gets each GetPart's context
}

func (s *partSource) GetPart(ctx context.Context, id pack.ID, buf []byte, p pack.Part) ([]byte, bool, error) {
	s.asked.Add(1)
	n := numOf(id)
	if s.came != nil {
		s.came <- ctx
	}
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	if s.refuse != nil {
		if err := s.refuse(n); err != nil {
			return nil, false, err
		}
	}
	length := lenOf(n)
	if s.length != nil {
		length = s.length(n)
	}
	plain := plainOf(n, length)
	whole := length != p.Chunk || p.To-p.From == p.Chunk || s.frame != nil && !s.frame(n)
	if !whole {
		plain = plain[p.From:p.To]
	}
	return append(buf[:0], plain...), whole, nil
}

func openParts(t testing.TB, s *partSource, opt Options) *Cache {
	t.Helper()
	opt.Poison, opt.Part = true, partSize
	c, err := New(s, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		checkAccounts(t, c)
	})
	return c
}

func full(int) int { return pack.MaxChunk }

// readPart reads part i of chunk n, which is length bytes long, and checks it.
func readPart(t testing.TB, c *Cache, n, i, length int) {
	t.Helper()
	ch := c.BeginPart(idOf(n), length, i)
	defer ch.Release()
	if err := ch.Wait(ctx, length); err != nil {
		t.Fatalf("chunk %d, part %d: %v", n, i, err)
	}
	from, to := i*partSize, min(length, (i+1)*partSize)
	if !bytes.Equal(ch.Slice(from, to), plainOf(n, length)[from:to]) {
		t.Fatalf("chunk %d, part %d: wrong bytes", n, i)
	}
}

func TestPartIsLoadedAlone(t *testing.T) {
	s := &partSource{source: source{length: full}}
	c := openParts(t, s, Options{})
	for range 3 {
		readPart(t, c, 7, 2, pack.MaxChunk)
	}
	if st := c.Stats(); st.Parts != 1 || st.LoadedBytes != partSize || st.Hits != 2 || st.Bytes != chargeOf(partSize) || s.gets.Load() != 0 {
		t.Errorf("%d gets, %+v", s.gets.Load(), st)
	}
	readPart(t, c, 7, 3, pack.MaxChunk)
	if st := c.Stats(); st.Parts != 2 || st.Chunks != 2 {
		t.Errorf("%+v", st)
	}
}

// TestWholeChunkTakesItsPartsPlace: the parts go when the chunk is there, and
// who reads a part then reads the chunk.
func TestWholeChunkTakesItsPartsPlace(t *testing.T) {
	s := &partSource{source: source{length: full}}
	c := openParts(t, s, Options{})
	held := c.BeginPart(idOf(7), pack.MaxChunk, 0)
	if err := held.Wait(ctx, pack.MaxChunk); err != nil {
		t.Fatal(err)
	}
	readPart(t, c, 7, 1, pack.MaxChunk)
	ch, err := c.Acquire(ctx, idOf(7), pack.MaxChunk)
	if err != nil || !bytes.Equal(ch.Bytes(), plainOf(7, pack.MaxChunk)) {
		t.Fatalf("wrong bytes: %v", err)
	}
	ch.Release()
	if !bytes.Equal(held.Slice(0, partSize), plainOf(7, partSize)) {
		t.Error("a part that is held was given up")
	}
	held.Release()
	asked := s.asked.Load()
	for i := range 4 {
		readPart(t, c, 7, i, pack.MaxChunk)
	}
	if s.asked.Load() != asked {
		t.Error("a part was loaded though the chunk is there")
	}
	if st := c.Stats(); st.Chunks != 2 { // the chunk, and the part that was held
		t.Errorf("%d chunks: %+v", st.Chunks, st)
	}
}

// TestPartThatComesWhole is a record without frames: one load serves all parts.
func TestPartThatComesWhole(t *testing.T) {
	for _, own := range []bool{false, true} {
		s := &partSource{source: source{length: full, own: own}, frame: func(int) bool { return false }}
		c := openParts(t, s, Options{})
		for i := range 4 {
			readPart(t, c, 3, i, pack.MaxChunk)
		}
		ch, err := c.Acquire(ctx, idOf(3), pack.MaxChunk)
		if err != nil {
			t.Fatal(err)
		}
		ch.Release()
		if st := c.Stats(); s.asked.Load() != 1 || st.Chunks != 1 || st.Bytes != chargeOf(pack.MaxChunk) {
			t.Errorf("%d asked, %+v", s.asked.Load(), st)
		}
	}
}

// TestPartThatComesWholeTooLate: meanwhile the chunk came by another way.
func TestPartThatComesWholeTooLate(t *testing.T) {
	s := &partSource{source: source{length: full}, frame: func(int) bool { return false }, came: make(chan context.Context, 9), block: make(chan struct{})}
	c := openParts(t, s, Options{Workers: 2})
	var wg sync.WaitGroup
	wg.Go(func() { readPart(t, c, 3, 1, pack.MaxChunk) })
	<-s.came
	wg.Go(func() { readWhole(t, c, 3) })
	<-s.came
	close(s.block)
	wg.Wait()
	if st := c.Stats(); st.Chunks != 1 || st.Bytes != chargeOf(pack.MaxChunk) {
		t.Errorf("%+v", st)
	}
}

func readWhole(t testing.TB, c *Cache, n int) {
	ch, err := c.Acquire(ctx, idOf(n), pack.MaxChunk)
	if err != nil {
		t.Error(err)
		return
	}
	defer ch.Release()
	if !bytes.Equal(ch.Bytes(), plainOf(n, pack.MaxChunk)) {
		t.Errorf("chunk %d has wrong bytes", n)
	}
}

// TestPartThatFailsIsAskedOfGet: the quick way has no last word.
func TestPartThatFailsIsAskedOfGet(t *testing.T) {
	s := &partSource{source: source{length: full}, refuse: func(int) error { return errGone }}
	c := openParts(t, s, Options{})
	readPart(t, c, 5, 1, pack.MaxChunk)
	readPart(t, c, 5, 2, pack.MaxChunk) // Get brought the whole chunk
	if st := c.Stats(); s.gets.Load() != 1 || st.Failed != 0 || st.Chunks != 1 || st.Bytes != chargeOf(pack.MaxChunk) {
		t.Errorf("%d gets, %+v", s.gets.Load(), st)
	}
	s.fail = func(int) error { return errGone }
	ch := c.BeginPart(idOf(6), pack.MaxChunk, 0)
	defer ch.Release()
	if err := ch.Wait(ctx, pack.MaxChunk); !errors.Is(err, errGone) {
		t.Error(err)
	}
}

func TestPartOfAnotherLength(t *testing.T) {
	for _, actual := range []int{1, 20000, partSize, 40000, pack.MaxChunk} {
		c := openParts(t, &partSource{source: source{length: func(int) int { return actual }}}, Options{})
		for _, claimed := range []int{20000, 40000, pack.MaxChunk, 40000} {
			ch := c.BeginPart(idOf(4), claimed, 1)
			if err := ch.Wait(ctx, claimed); (err == nil) != (claimed == actual) {
				t.Fatalf("%d bytes claimed, %d there: %v", claimed, actual, err)
			}
			ch.Release()
		}
	}
}

func TestOneLoadForManyWaitersOfAPart(t *testing.T) {
	s := &partSource{source: source{length: full}, block: make(chan struct{})}
	c := openParts(t, s, Options{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { readPart(t, c, 9, 3, pack.MaxChunk) })
	}
	until(t, "all wait", func() bool { st := c.Stats(); return st.Misses+st.Joined == 50 })
	close(s.block)
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

// TestHelperLeavesOthersStay: who loads for himself and is interrupted hands the
// load over to a worker, and nobody else sees it.
func TestHelperLeavesOthersStay(t *testing.T) {
	s := &partSource{source: source{length: full}, block: make(chan struct{}), came: make(chan context.Context, 9)}
	c := openParts(t, s, Options{Workers: 1})
	short, cancel := context.WithCancel(ctx)
	left := make(chan error)
	go func() {
		ch := c.BeginPart(idOf(1), pack.MaxChunk, 0)
		err := ch.Wait(short, pack.MaxChunk)
		ch.Release() // before the test can end
		left <- err
	}()
	if by := <-s.came; by != short {
		t.Error("the waiter does not load for himself")
	}
	stayed := make(chan struct{})
	go func() { defer close(stayed); readPart(t, c, 1, 0, pack.MaxChunk) }()
	until(t, "second waiter", func() bool { return c.Stats().Joined == 1 })
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-stayed
	if s.gets.Load() != 1 { // by the worker
		t.Errorf("%d gets", s.gets.Load())
	}
}

// TestLoadsAreBounded has many callers wait for loads that end only when they are
// told to: no more run than there are workers, whoever does them, and as many as
// there are workers while something is left.
func TestLoadsAreBounded(t *testing.T) {
	const loads, workers = 200, 2
	s := &partSource{source: source{length: full}, came: make(chan context.Context, 2*loads), block: make(chan struct{})}
	c := openParts(t, s, Options{Workers: workers})
	var readers sync.WaitGroup
	defer readers.Wait()
	for n := range loads {
		readers.Go(func() { readPart(t, c, n, n%4, pack.MaxChunk) })
	}
	until(t, "all have asked", func() bool { return c.Stats().Misses == loads })
	running, most := 0, 0
	for left := loads; left > 0; left-- {
		for running < min(workers, left) {
			<-s.came
			running++
		}
		running += drain(s.came)
		most = max(most, running)
		s.block <- struct{}{}
		running--
	}
	if most > workers {
		t.Errorf("%d loads at a time", most)
	}
}

func drain(came chan context.Context) (n int) {
	for ; len(came) > 0; n++ {
		<-came
	}
	return n
}

// TestNobodyHelpsWhereEnoughLoadsRun: a caller does not load for himself then.
func TestNobodyHelpsWhereEnoughLoadsRun(t *testing.T) {
	s := &partSource{source: source{length: full}, came: make(chan context.Context, 9), block: make(chan struct{})}
	c := openParts(t, s, Options{Workers: 1})
	var readers sync.WaitGroup
	readers.Go(func() { readPart(t, c, 1, 0, pack.MaxChunk) })
	<-s.came
	ch := c.BeginPart(idOf(2), pack.MaxChunk, 0)
	refused := make(chan struct{})
	go func() { ch.help(ctx); close(refused) }()
	select {
	case <-refused:
	case <-s.came:
		t.Error("two loads run where one may")
	}
	close(s.block)
	readers.Wait()
	if err := ch.Wait(ctx, pack.MaxChunk); err != nil {
		t.Error(err)
	}
	ch.Release()
}

// TestAbandonedLoneChunkGoes: a chunk that was begun, woke nobody and was given
// back without a wait leaves the queue. Each is alone in it, as a second one would
// wake a worker for both; there are many, as a worker that has not gone to sleep
// yet finds one by itself.
func TestAbandonedLoneChunkGoes(t *testing.T) {
	s := &partSource{source: source{length: full}}
	c := openParts(t, s, Options{})
	for n := range 100 {
		if n%2 == 0 {
			c.BeginPart(idOf(n), pack.MaxChunk, 0).Release()
		} else {
			c.Begin(idOf(n), pack.MaxChunk).Release()
		}
		until(t, "forgotten", func() bool { return c.Stats().Chunks == 0 })
	}
	if s.asked.Load()+s.gets.Load() != 0 {
		t.Error("loaded for nobody")
	}
}

// withoutWorkers returns a cache whose callers do all loads.
func withoutWorkers(t *testing.T, s *partSource) *Cache {
	c := openParts(t, s, Options{Workers: 1})
	c.pool.close()
	c.workers.Wait()
	c.pool.closed = false
	return c
}

// TestBugInACallersLoad: a handler that panics while it loads for itself is
// caught above us; who reads the chunk next loads it anew.
func TestBugInACallersLoad(t *testing.T) {
	s := &partSource{source: source{length: full}, refuse: func(int) error { panic("a bug") }}
	c := withoutWorkers(t, s)
	ch, other := c.BeginPart(idOf(1), pack.MaxChunk, 0), c.BeginPart(idOf(1), pack.MaxChunk, 0)
	func() {
		defer ch.Release()
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		ch.Wait(t.Context(), pack.MaxChunk)
	}()
	if err := other.Wait(t.Context(), pack.MaxChunk); !errors.Is(err, errBug) {
		t.Errorf("who waited as well: %v", err)
	}
	other.Release()
	if st := c.Stats(); st.Chunks != 0 || st.Bytes != 0 {
		t.Fatalf("the chunk stays: %+v", st)
	}
	s.refuse = nil
	readPart(t, c, 1, 0, pack.MaxChunk)
}

// TestCloseWaitsForCallersLoads: the store may be closed behind Close.
func TestCloseWaitsForCallersLoads(t *testing.T) {
	s := &partSource{source: source{length: full}, block: make(chan struct{}), came: make(chan context.Context, 1)}
	c := withoutWorkers(t, s)
	var running sync.WaitGroup
	running.Go(func() {
		ch := c.BeginPart(idOf(1), pack.MaxChunk, 0)
		defer ch.Release()
		if err := ch.Wait(context.Background(), pack.MaxChunk); err != nil {
			t.Error(err)
		}
	})
	<-s.came
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	<-c.ctx.Done()
	for range 1000 { // a Close that does not wait would be over
		runtime.Gosched()
	}
	select {
	case <-closed:
		t.Error("closed while a load runs")
	default:
	}
	close(s.block)
	<-closed
	running.Wait()
}

func TestPartsKeepTheBudget(t *testing.T) {
	const budget = 1 << 20
	s := &partSource{source: source{length: full}, frame: func(n int) bool { return n%7 != 0 }}
	s.refuse = func(n int) error {
		if n%11 == 0 {
			return errGone
		}
		return nil
	}
	c := openParts(t, s, Options{Bytes: budget, Prefetch: budget / 4, Workers: 2})
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 5))
			for range 600 {
				n := r.IntN(60)
				switch r.IntN(8) {
				case 0:
					readWhole(t, c, n)
				case 1:
					c.Prefetch(Want{idOf(n), pack.MaxChunk})
				case 2:
					c.BeginPart(idOf(n), pack.MaxChunk, r.IntN(4)).Release()
				default:
					readPart(t, c, n, r.IntN(4), pack.MaxChunk)
				}
			}
		})
	}
	wg.Wait()
	if st := c.Stats(); st.Bytes > budget || st.PrefetchBytes > budget/4 {
		t.Errorf("%+v", st)
	}
}

// TestPartIsAHitWithoutAllocations is what a small read in memory costs.
func TestPartIsAHitWithoutAllocations(t *testing.T) {
	c := openParts(t, &partSource{source: source{length: full}}, Options{})
	id := idOf(1)
	read := func() {
		ch := c.BeginPart(id, pack.MaxChunk, 1)
		if err := ch.Wait(ctx, pack.MaxChunk); err != nil {
			t.Fatal(err)
		}
		ch.Release()
	}
	read()
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("%.0f allocations", n)
	}
}
