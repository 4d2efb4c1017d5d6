package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/media/odirect"
)

// buffer is the memory of one region at a time. Whoever took it has it alone.
type buffer struct {
	region []byte // disk.RegionSize bytes; nil before the first use
	dirty  []span // parts of region that are not zeros already
}

// buffers are those that nobody has, the one given back last on top: no more come into
// use than are needed, and their memory is still in the processor's cache. Safe for
// concurrent use.
type buffers struct {
	ready chan struct{} // one token for each in free

	mu   sync.Mutex // guards free
	free []*buffer
}

func newBuffers(n int) *buffers {
	s := &buffers{ready: make(chan struct{}, n)}
	for range n {
		s.put(new(buffer))
	}
	return s
}

// put never waits, as all buffers have room.
func (s *buffers) put(b *buffer) {
	s.mu.Lock()
	s.free = append(s.free, b)
	s.mu.Unlock()
	s.ready <- struct{}{}
}

// take waits for a buffer; the error is that of ctx.
func (s *buffers) take(ctx context.Context) (*buffer, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.free) - 1
	b := s.free[last]
	s.free = s.free[:last]
	return b, nil
}

// loaded is a region that was read, and the buffer in which it lies.
type loaded struct {
	task task
	buf  *buffer
}

// loaders is how many regions are read at once by a capture with so many buffers: half
// of what are left when two are hashed. So the source is asked anew as soon as it has
// answered, and not when that is hashed.
func loaders(buffers int) int { return max(1, (buffers-2)/2) }

// load reads regions of tasks into free buffers until there are no more tasks. What is
// handed on fits into out: there are no more buffers than that has room for.
func (c *diskCapture) load(ctx context.Context, work <-chan task, free *buffers, out chan<- loaded) error {
	for {
		// The buffer first: who has a task can go on with it, and the oldest
		// one is what the collector waits for.
		b, err := free.take(ctx)
		if err != nil {
			return err
		}
		t, ok := <-work
		if !ok {
			return nil
		}
		if b.region == nil {
			b.region = odirect.Memory(disk.RegionSize)
		}
		if err := c.read(b, t); err != nil {
			return err
		}
		out <- loaded{t, b}
	}
}

// read fills the buffer with the task's extents, and zeros between them.
func (c *diskCapture) read(b *buffer, t task) error {
	b.clearLast(t.reads)
	b.dirty = append(b.dirty[:0], t.extents...)
	base := t.n * disk.RegionSize
	for _, s := range t.reads {
		n, err := c.src.ReadAt(b.region[s.from:s.to], base+int64(s.from))
		if n == s.to-s.from {
			err = nil
		} else if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("the source ended: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return fmt.Errorf("read %d bytes from %d: %w", s.to-s.from, base+int64(s.from), err)
		}
		c.opts.Progress.Read.Add(int64(n))
	}
	t.clearBetween(b.region)
	return nil
}

// clearLast clears what the last task left in the buffer, but for what is about
// to be read over it: where most of a disk is in use that is next to all.
func (b *buffer) clearLast(reads []span) {
	k := 0
	for _, d := range b.dirty {
		for ; k < len(reads) && reads[k].to <= d.from; k++ {
		}
		from := d.from
		for i := k; i < len(reads) && reads[i].from < d.to; i++ {
			if reads[i].from > from {
				clear(b.region[from:reads[i].from])
			}
			from = reads[i].to
		}
		if from < d.to {
			clear(b.region[from:d.to])
		}
	}
}
