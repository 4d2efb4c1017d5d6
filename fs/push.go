package fs

import (
	"context"
	"sync"
	"sync/atomic"
)

// Random small reads inside a chunk cost a round trip each, while the whole
// chunk lies decoded in our cache. Pushing the rest of it into the page cache
// makes local random reads eight times faster, and costs a tenth on uniformly
// random ones; so it is done at the second read in the same grain only, and only
// when few other reads of the file came between the two, and when of the last reads
// not a few met a grain so: those of a program that reads all over a disk meet in a
// grain now and then (one in 20 on a disk of 600 MB), and decoding the rest of it
// took a quarter of the daemon's time.
// Measured: never in the handler itself (the kernel holds pages locked that
// the push waits for), never for sequential reads or O_DIRECT.
const (
	grain      = 64 << 10
	touchSlots = 4096 // grains that a file remembers: 256 MiB
	touchNear  = 512  // reads of the file between two that count as near
	pushers    = 2
	pushQueue  = 64

	// The share of reads that met a grain is a mean that forgets: each read counts
	// for 1/2^meetMemory. Below meetLeast nothing is pushed.
	meetMemory = 5
	meetOne    = 1 << 16 // the share of 1
	meetLeast  = meetOne / 8
	meetFirst  = meetOne / 2 // before the first read: the first two in a grain may be all
)

// touches remembers grains of a file that were read once, and when. Two grains
// may share a slot; the later one takes it.
type touches struct {
	slots  atomic.Pointer[[touchSlots]atomic.Uint64]
	reads  atomic.Uint64 // so far: the file's clock
	strewn atomic.Int32  // meetFirst less the share; an update that is lost does no harm
}

// again notes a read in grain no, and reports one that came soon after another,
// where such reads are no rare chance. The third counts as a first: the kernel may
// have dropped what was pushed.
func (t *touches) again(no int64) bool {
	slots := t.slots.Load()
	if slots == nil {
		t.slots.CompareAndSwap(nil, new([touchSlots]atomic.Uint64))
		slots = t.slots.Load()
	}
	// A grain's number has 31 bits at most: 64 TiB and an image's tables.
	slot, now := &slots[uint64(no)*0x9E3779B97F4A7C15>>52], uint32(t.reads.Add(1))
	was := slot.Load()
	met := was>>32 == uint64(no)+1 && now-uint32(was) <= touchNear
	if t.meets(met) {
		slot.Store(0)
		return true
	}
	slot.Store((uint64(no)+1)<<32 | uint64(now))
	return false
}

// meets counts a read that met a grain, or did not, and reports whether one that
// did is worth a push.
func (t *touches) meets(met bool) bool {
	share := meetFirst - t.strewn.Load()
	share -= share >> meetMemory
	if met {
		share += meetOne >> meetMemory
	}
	t.strewn.Store(meetFirst - share)
	return met && share >= meetLeast
}

// push is a run of a file to put into the page cache.
type push struct {
	n       *imageNode
	off, to int64
}

// nothing is no push.
var nothing push

// pusher runs the pushes of a tree.
type pusher struct {
	t       *tree
	ctx     context.Context
	stop    context.CancelFunc
	queue   chan push
	running sync.WaitGroup
}

func newPusher(t *tree) *pusher {
	p := &pusher{t: t, queue: make(chan push, pushQueue)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for range pushers {
		p.running.Go(p.run)
	}
	return p
}

// close waits for what is under way.
func (p *pusher) close() {
	p.stop()
	p.running.Wait()
}

// wantsPush notes a read and reports whether the rest of its grain is worth a push:
// the grain was read before, not long ago.
func (im *imageNode) wantsPush(off, n int64) bool {
	no := off / grain
	return im.t.push != nil && n < grain && (off+n-1)/grain == no && im.touched.again(no)
}

// grainAt is the push of the grain with byte off. It holds what was just read, too:
// two runs around that would be two wake-ups and two system calls.
func (im *imageNode) grainAt(off int64) push {
	no := off / grain
	return push{im, no * grain, min((no+1)*grain, im.img.Size())}
}

// ask queues a push. It never waits.
func (p *pusher) ask(job push) {
	select {
	case p.queue <- job:
	default:
		p.t.count.pushDropped.Add(1)
	}
}

func (p *pusher) run() {
	buf := make([]byte, 0, grain)
	for {
		select {
		case <-p.ctx.Done():
			return
		case job := <-p.queue:
			p.do(job, buf)
		}
	}
}

// do stores a run. What can't be read is left to the reader who asks for it.
func (p *pusher) do(job push, buf []byte) {
	defer func() {
		if what := recover(); what != nil {
			p.t.panicked(what)
		}
	}()
	r, err := job.n.collect(p.ctx, job.off, int(job.to-job.off), false)
	if err != nil {
		return
	}
	data, _ := r.Bytes(buf)
	r.Done()
	if job.n.WriteCache(job.off, data) == 0 {
		p.t.count.pushed.Add(int64(len(data)))
	}
}
