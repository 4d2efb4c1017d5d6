package cache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/chunkstore/pack"
)

var (
	ctx     = context.Background()
	errGone = errors.New("gone")
)

// source makes chunk n up: its bytes follow from its number.
type source struct {
	gets    atomic.Int64
	gate    chan struct{}   // when not nil, a Get takes one from it first
	started chan pack.ID    // when not nil, gets each id asked for
	fail    func(int) error // when not nil, may refuse chunk n
	length  func(n int) int // when not nil, chunk n's length
	seen    func()          // when not nil, called in each Get
	own     bool            // return memory of its own and not buf
}

func idOf(n int) (id pack.ID) {
	// Spread like hashes, so that shards and ghosts see what they expect.
	r := rand.New(rand.NewPCG(uint64(n), 77))
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	id[31], id[30], id[29] = byte(n), byte(n>>8), byte(n>>16)
	return id
}

func numOf(id pack.ID) int { return int(id[31]) | int(id[30])<<8 | int(id[29])<<16 }

func lenOf(n int) int { return 1 + n*7919%pack.MaxChunk }

func plainOf(n, length int) []byte {
	return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, length/2+1)[:length]
}

func (s *source) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	s.gets.Add(1)
	n := numOf(id)
	if s.started != nil {
		s.started <- id
	}
	if s.seen != nil {
		s.seen()
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.fail != nil {
		if err := s.fail(n); err != nil {
			return nil, err
		}
	}
	length := lenOf(n)
	if s.length != nil {
		length = s.length(n)
	}
	if s.own {
		buf = nil
	}
	return append(buf[:0], plainOf(n, length)...), nil
}

func open(t testing.TB, s *source, opt Options) *Cache {
	t.Helper()
	opt.Poison = true
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

// checkAccounts proves that what is charged is what is there, and that nobody
// holds a chunk any more.
func checkAccounts(t testing.TB, c *Cache) {
	t.Helper()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		var used, ahead int64
		for _, ch := range s.chunks {
			if ch.ahead {
				ahead += ch.charge
			} else {
				used += ch.charge
			}
			if n := ch.refs.Load(); n != 1 {
				t.Errorf("chunk %d is still held %d times", numOf(ch.id), n-1)
			}
		}
		if used != s.used || ahead != s.usedAhead || s.fresh.bytes+s.passed.bytes+s.kept.bytes != used || s.ahead.bytes != ahead {
			t.Errorf("shard %d: charged %d and %d, there %d and %d, listed %d, %d and %d", i, s.used, s.usedAhead, used, ahead, s.fresh.bytes, s.kept.bytes, s.ahead.bytes)
		}
		if s.used+s.usedAhead > s.limit || s.usedAhead > s.limitAhead {
			t.Errorf("shard %d: %d bytes, and %d of %d, of %d", i, s.used, s.usedAhead, s.limitAhead, s.limit)
		}
		if len(s.chunks) != s.fresh.n+s.passed.n+s.kept.n+s.ahead.n {
			t.Errorf("shard %d: %d chunks, %d listed", i, len(s.chunks), s.fresh.n+s.kept.n+s.ahead.n)
		}
		s.mu.Unlock()
	}
}

func mustAcquire(t testing.TB, c *Cache, n int) *Chunk {
	t.Helper()
	ch, err := c.Acquire(ctx, idOf(n), lenOf(n))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ch.Bytes(), plainOf(n, lenOf(n))) {
		t.Fatalf("chunk %d has wrong bytes", n)
	}
	return ch
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func TestSecondReadIsAHit(t *testing.T) {
	s := &source{}
	c := open(t, s, Options{})
	for range 3 {
		mustAcquire(t, c, 5).Release()
	}
	if st := c.Stats(); s.gets.Load() != 1 || st.Hits != 2 || st.Misses != 1 || st.Chunks != 1 || st.Bytes != chargeOf(lenOf(5)) {
		t.Errorf("%d gets, %+v", s.gets.Load(), st)
	}
}

func TestOneLoadForManyWaiters(t *testing.T) {
	s := &source{gate: make(chan struct{})}
	c := open(t, s, Options{Workers: 4})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { mustAcquire(t, c, 9).Release() })
	}
	until(t, "all wait", func() bool { st := c.Stats(); return st.Misses+st.Joined == 50 })
	s.gate <- struct{}{}
	wg.Wait()
	if n := s.gets.Load(); n != 1 {
		t.Errorf("%d gets", n)
	}
}

func TestWaiterLeavesLoadStays(t *testing.T) {
	s := &source{gate: make(chan struct{}), started: make(chan pack.ID, 10)}
	c := open(t, s, Options{Workers: 1})
	short, cancel := context.WithCancel(ctx)
	left, stayed := make(chan error), make(chan *Chunk)
	go func() { _, err := c.Acquire(short, idOf(1), lenOf(1)); left <- err }()
	<-s.started
	go func() { stayed <- mustAcquire(t, c, 1) }()
	until(t, "second waiter", func() bool { return c.Stats().Joined == 1 })
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.gate <- struct{}{}
	(<-stayed).Release()
	if s.gets.Load() != 1 {
		t.Error("loaded twice")
	}
}

func TestLoadNobodyWaitsForIsLeftOut(t *testing.T) {
	s := &source{gate: make(chan struct{}), started: make(chan pack.ID, 10)}
	c := open(t, s, Options{Workers: 1})
	first := c.Begin(idOf(1), lenOf(1))
	<-s.started // the only worker is at it
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Acquire(gone, idOf(2), lenOf(2)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(s.gate)
	if err := first.Wait(ctx, lenOf(1)); err != nil {
		t.Error(err)
	}
	first.Release()
	until(t, "forgotten", func() bool { return c.Stats().Chunks == 1 })
	if s.gets.Load() != 1 {
		t.Error("loaded for nobody")
	}
	mustAcquire(t, c, 2).Release()
}

func TestErrorsAreNotKept(t *testing.T) {
	broken := true
	s := &source{fail: func(int) error {
		if broken {
			return errGone
		}
		return nil
	}}
	c := open(t, s, Options{Workers: 1})
	for range 2 {
		if _, err := c.Acquire(ctx, idOf(3), lenOf(3)); !errors.Is(err, errGone) {
			t.Error(err)
		}
	}
	broken = false
	mustAcquire(t, c, 3).Release()
	if st := c.Stats(); st.Failed != 2 || st.Chunks != 1 {
		t.Errorf("%+v", st)
	}
}

func TestLengthMustFit(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, actual := range []int{1, 4000, 5000, pack.MaxChunk} {
			c := open(t, &source{length: func(int) int { return actual }, own: own}, Options{})
			for _, claimed := range []int{1, 4000, 5000, pack.MaxChunk, 4000} {
				ch, err := c.Acquire(ctx, idOf(4), claimed)
				if (err == nil) != (claimed == actual) {
					t.Fatalf("%d bytes claimed, %d there: %v", claimed, actual, err)
				}
				if err == nil {
					if !bytes.Equal(ch.Bytes(), plainOf(4, actual)) {
						t.Error("wrong bytes")
					}
					ch.Release()
				}
			}
		}
	}
	for _, actual := range []int{0, pack.MaxChunk + 1} {
		c := open(t, &source{length: func(int) int { return actual }}, Options{})
		if _, err := c.Acquire(ctx, idOf(4), 100); err == nil {
			t.Errorf("chunk of %d bytes taken", actual)
		}
	}
	c := open(t, &source{}, Options{})
	for _, claimed := range []int{-1, 0, pack.MaxChunk + 1} {
		if _, err := c.Acquire(ctx, idOf(4), claimed); err == nil {
			t.Errorf("length %d taken", claimed)
		}
	}
}

func TestHeldChunksStay(t *testing.T) {
	c := open(t, &source{}, Options{Bytes: 256 << 10, Prefetch: 128 << 10})
	held := make([]*Chunk, 20) // about 650 KiB
	for n := range held {
		held[n] = mustAcquire(t, c, n)
	}
	for n := 100; n < 200; n++ {
		mustAcquire(t, c, n).Release()
	}
	var charged int64
	for n := range held {
		charged += chargeOf(lenOf(n))
	}
	if st := c.Stats(); st.Bytes < charged {
		t.Errorf("%d bytes charged, but %d are held", st.Bytes, charged)
	}
	for n, ch := range held {
		if !bytes.Equal(ch.Bytes(), plainOf(n, lenOf(n))) {
			t.Fatalf("chunk %d was overwritten while held", n)
		}
	}
	for _, ch := range held {
		ch.Release()
	}
	if st := c.Stats(); st.Bytes > 256<<10 { // the releases trimmed
		t.Errorf("%d bytes after the releases", st.Bytes)
	}
}

func TestReleasedTwicePanics(t *testing.T) {
	c := open(t, &source{}, Options{})
	ch := failed(key{id: idOf(1)}, errGone)
	ch.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_ = c
	ch.Release()
}

func TestFreedBuffersArePoisoned(t *testing.T) {
	c := open(t, &source{}, Options{Bytes: 100 << 10, Prefetch: 80 << 10})
	ch := mustAcquire(t, c, 8)
	b := ch.Bytes()
	ch.Release()
	for n := 100; n < 120; n++ { // other size classes
		if classOf(lenOf(n)) != classOf(lenOf(8)) {
			mustAcquire(t, c, n).Release()
		}
	}
	if b[0] != poisonByte {
		t.Error("evicted chunk's buffer was not given back")
	}
}

func TestScanDoesNotFlush(t *testing.T) {
	s := &source{length: func(int) int { return pack.MaxChunk }}
	c := open(t, s, Options{Bytes: 8 << 20, Prefetch: 1 << 20})
	use := func(n int) {
		ch, err := c.Acquire(ctx, idOf(n), pack.MaxChunk)
		if err != nil {
			t.Fatal(err)
		}
		ch.Release()
	}
	const hot = 40 // 2.9 of 8 MiB
	next := 1000
	for range 6 { // hot chunks, used again and again between others
		for n := range hot {
			use(n)
		}
		for range 60 {
			use(next)
			next++
		}
	}
	for range 2000 { // a scan of 125 MiB, each chunk in sixteen reads
		for range 16 {
			use(next)
		}
		next++
	}
	before := s.gets.Load()
	for n := range hot {
		use(n)
	}
	if lost := s.gets.Load() - before; lost > hot/10 {
		t.Errorf("the scan flushed %d of %d hot chunks", lost, hot)
	}
}

// What a stream went past makes room for itself, and not the rest.
func TestStreamPasses(t *testing.T) {
	const budget, hot = 8 << 20, 40
	s := &source{length: func(int) int { return pack.MaxChunk }}
	c := open(t, s, Options{Bytes: budget, Prefetch: 1 << 20})
	use := func(n int, end func(*Chunk)) {
		ch, err := c.Acquire(ctx, idOf(n), pack.MaxChunk)
		if err != nil {
			t.Fatal(err)
		}
		end(ch)
	}
	for n := range hot {
		use(n, (*Chunk).Release)
	}
	before := c.Stats().Bytes
	for n := 1000; n < 2000; n++ {
		use(n, (*Chunk).Pass)
	}
	most := before + budget/passedShare + chargeOf(pack.MaxChunk)
	if now := c.Stats().Bytes; now > most || now <= before {
		t.Errorf("%d bytes before the stream, %d after it: want %d at most", before, now, most)
	}
	loaded := s.gets.Load()
	use(1999, (*Chunk).Release)
	for n := range hot {
		use(n, (*Chunk).Pass)
	}
	if n := s.gets.Load() - loaded; n != 0 {
		t.Errorf("%d chunks were loaded again", n)
	}
	if now := c.Stats().Bytes; now > budget/passedShare+chargeOf(pack.MaxChunk) {
		t.Errorf("%d bytes when all passed", now)
	}
}

// A chunk that others hold or that failed may be passed like any other, and one
// that was asked for again stays.
func TestPassedByOne(t *testing.T) {
	s := &source{length: func(int) int { return pack.MaxChunk }, fail: func(n int) error {
		if n == 7 {
			return errGone
		}
		return nil
	}}
	c := open(t, s, Options{Bytes: 1 << 20, Prefetch: 1 << 20})
	again := func(n int) *Chunk { return c.Begin(idOf(n), pack.MaxChunk) }
	broken := again(7)
	if err := broken.Wait(ctx, pack.MaxChunk); !errors.Is(err, errGone) {
		t.Fatal(err)
	}
	broken.Pass()
	held := again(1)
	if err := held.Wait(ctx, pack.MaxChunk); err != nil {
		t.Fatal(err)
	}
	pass := func(n int) {
		ch := again(n)
		if err := ch.Wait(ctx, pack.MaxChunk); err != nil {
			t.Fatal(err)
		}
		ch.Pass()
	}
	pass(1)
	for n := 100; n < 200; n++ {
		pass(n)
	}
	if !bytes.Equal(held.Bytes(), plainOf(1, pack.MaxChunk)) {
		t.Error("a held chunk was given up")
	}
	held.Pass()
	pass(199) // still there, and passed twice
	pass(198) // left lately: now it is kept
	pass(198)
	for n := 200; n < 240; n++ {
		pass(n)
	}
	before := s.gets.Load()
	if pass(198); s.gets.Load() != before {
		t.Error("what was asked for again did not stay")
	}
}

func TestClose(t *testing.T) {
	s := &source{gate: make(chan struct{}), started: make(chan pack.ID, 10)}
	c := open(t, s, Options{Workers: 1})
	var errs [3]error
	var wg sync.WaitGroup
	for n := range errs {
		wg.Go(func() { _, errs[n] = c.Acquire(ctx, idOf(n), lenOf(n)) })
	}
	<-s.started
	until(t, "queued", func() bool { return c.Stats().Misses == 3 })
	c.Prefetch(Want{idOf(10), lenOf(10)})
	c.Close()
	wg.Wait()
	for _, err := range append(errs[:], second(c.Acquire(ctx, idOf(7), lenOf(7)))) {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if c.Prefetch(Want{idOf(11), lenOf(11)}) != 0 {
		t.Error("prefetched after Close")
	}
}

func second[T any](_ T, err error) error { return err }

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Bytes: -1}, {Prefetch: -1}, {Workers: -1}} {
		if _, err := New(&source{}, o); err == nil {
			t.Errorf("%+v taken", o)
		}
	}
}

// The sizes must be the allocator's own, or memory is taken and not charged.
func TestSizesAreTheAllocators(t *testing.T) {
	for i, n := range sizes {
		if got := cap(append([]byte(nil), make([]byte, n)...)); got != n {
			t.Errorf("an allocation of %d bytes takes %d", n, got)
		}
		if i > 0 && sizes[i-1] >= n {
			t.Errorf("size %d is not in order", n)
		}
	}
	for n := 1; n <= pack.MaxChunk; n++ {
		k := classOf(n)
		if sizes[k] < n+pack.Slack || k > 0 && sizes[k-1] >= n+pack.Slack {
			t.Fatalf("class of %d bytes is %d", n, sizes[k])
		}
	}
}
