package heal

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Progress tells how far a scrub is, in bytes of packs. Total is 0 while not all packs are
// listed that are to be proved. It may be read at any time.
type Progress struct{ Done, Total atomic.Int64 }

// pace bounds the bytes a second of all workers together.
type pace struct {
	rate int64

	mu   sync.Mutex // guards next
	next time.Time  // when the next read may begin
}

func newPace(rate int64) *pace { return &pace{rate: rate} }

// wait waits for the turn of a read of n bytes.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = at.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// paced is a file that is read at a pace, and not at all once ctx has ended.
type paced struct {
	r        io.ReaderAt
	ctx      context.Context
	pace     *pace
	progress *Progress
}

func (p *paced) ReadAt(b []byte, off int64) (int, error) {
	if err := p.pace.wait(p.ctx, len(b)); err != nil {
		return 0, err
	}
	n, err := p.r.ReadAt(b, off)
	p.progress.Done.Add(int64(n))
	return n, err
}
