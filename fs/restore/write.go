package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore/blake"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

const (
	// windowBytes is what a worker deals with at a time: a region, so that
	// raw windows decode whole chunks.
	windowBytes = disk.RegionSize
	// aheadWindows is how many windows are handed out before somebody deals with
	// them; their packs have been read.
	aheadWindows = 4
	// compareBlock is the granularity in which differing bytes are written.
	compareBlock = 4 << 10
)

// window is a part of the image file within one aligned run of windowBytes.
type window struct {
	off    int64
	length int
	hole   bool // all zeros
}

// write brings the target to the image's content.
func (j *job) write(ctx context.Context, t *target) (Result, error) {
	res := Result{Size: j.img.Size()}
	var mu sync.Mutex // guards res
	g, ctx := errgroup.WithContext(ctx)
	var shelf windowBuffer
	if t.fresh && j.opts.Format == image.Raw {
		shelf = newWindowBuffer(aheadBytes(j.opts.Workers))
	}
	from := j.disk.inOrder(shelf.pages)
	work := make(chan []window, aheadWindows)
	g.Go(func() error {
		defer close(work)
		return (&planner{job: j, t: t, from: from, work: work}).plan(ctx)
	})
	for range j.opts.Workers {
		g.Go(func() error {
			w := newWorker(j, t, from.forOne())
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				res.Written += w.res.Written
				res.Same += w.res.Same
			}()
			for wins := range work {
				if err := w.doAll(ctx, wins); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	res.Trusted = res.Size - j.ranges().Bytes()
	res.Holes = res.Size - res.Trusted - res.Written - res.Same
	return res, err
}

// aheadBytes is how much of the packs is kept that was read before it is wanted: room
// for the windows at hand, those handed out and the next one, as if nothing were
// compressed, and for one more. What is dropped before it is wanted is read twice.
func aheadBytes(workers int) int { return (workers + aheadWindows + 2) * windowBytes }

// planner hands out windows, those of one aligned run of windowBytes together.
type planner struct {
	*job
	t    *target
	from *direct
	work chan<- []window
	wins []window // of one run, not handed out
}

func (p *planner) plan(ctx context.Context) error {
	for _, r := range p.ranges() {
		if err := p.planRange(ctx, r.Off, r.end()); err != nil {
			return err
		}
	}
	return p.hand(ctx)
}

// planRange goes over [off, end). On a fresh target holes are left out; on one that
// exists they must become zeros.
func (p *planner) planRange(ctx context.Context, off, end int64) error {
	for off < end {
		length, data, err := image.Extent(ctx, p.img, p.disk, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("at byte %d: %w", off, err)
		}
		to := off + min(length, end-off)
		if !data && p.t.zeroed(off) >= to {
			p.prog.Done.Add(to - off)
			off = to
			continue
		}
		if to, err = p.widen(ctx, off, to, end, data); err != nil {
			return err
		}
		if err := p.add(ctx, off, to, !data); err != nil {
			return err
		}
		off = to
	}
	return nil
}

// add cuts [off, end), which is of one sort, into windows.
func (p *planner) add(ctx context.Context, off, end int64, hole bool) error {
	for off < end {
		n := min(end, (off/windowBytes+1)*windowBytes) - off
		if len(p.wins) > 0 && p.wins[0].off/windowBytes != off/windowBytes {
			if err := p.hand(ctx); err != nil {
				return err
			}
		}
		p.wins = append(p.wins, window{off, int(n), hole})
		off += n
	}
	return nil
}

// hand gives the windows at hand to a worker.
func (p *planner) hand(ctx context.Context) error {
	if len(p.wins) == 0 {
		return nil
	}
	if last := p.wins[len(p.wins)-1]; p.t.fresh && p.opts.Format == image.Raw {
		p.from.ahead(ctx, p.wins[0].off, last.off+int64(last.length))
	}
	select {
	case p.work <- p.wins:
		p.wins = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// widen extends a run of one sort as far as runs of that sort follow before most, at
// least to the window's end if it can: whole windows decode fastest.
func (j *job) widen(ctx context.Context, off, end, most int64, data bool) (int64, error) {
	for end < most && end < off+16*windowBytes {
		length, more, err := image.Extent(ctx, j.img, j.disk, end)
		if err != nil {
			return 0, fmt.Errorf("at byte %d: %w", end, err)
		}
		if more != data {
			break
		}
		end += min(length, math.MaxInt64-end)
	}
	return min(end, most), nil
}

type worker struct {
	*job
	*target
	disk *direct // for this worker alone
	buf  windowBuffer
	have windowBuffer // of a target that exists
	ids  haveIDs
	res  Result
}

func newWorker(j *job, t *target, from *direct) *worker {
	w := &worker{job: j, target: t, disk: from, buf: newWindowBuffer(windowBytes)}
	if !t.fresh {
		w.have = newWindowBuffer(windowBytes)
	}
	return w
}

// doAll brings the windows of one aligned run of windowBytes to what they should be.
func (w *worker) doAll(ctx context.Context, wins []window) error {
	for _, win := range wins {
		if err := w.do(ctx, win); err != nil {
			return fmt.Errorf("at byte %d: %w", win.off, err)
		}
		w.prog.Done.Add(int64(win.length))
	}
	return nil
}

// do brings one window of the target to what it should be.
func (w *worker) do(ctx context.Context, win window) error {
	want := w.buf.at(win)
	if w.fresh {
		if err := w.read(ctx, want, win); err != nil {
			return err
		}
		return w.put(want, win.off)
	}
	have, err := w.intake.read(w.have, win)
	if err != nil {
		return err
	}
	if w.opts.Format == image.Raw && !win.hole {
		return w.patchByID(ctx, win, have)
	}
	if err := w.read(ctx, want, win); err != nil {
		return err
	}
	return w.patch(want, have, win.off)
}

func (w *worker) read(ctx context.Context, want []byte, win window) error {
	if win.hole {
		clear(want)
		return nil
	}
	_, err := image.ReadAt(ctx, w.img, w.disk, want, win.off)
	return err
}

// patch writes the blocks in which want and have differ, neighbours at once.
func (w *worker) patch(want, have []byte, off int64) error {
	start := -1 // of a run that differs
	for i := 0; i < len(want); i += compareBlock {
		end := min(i+compareBlock, len(want))
		if !bytes.Equal(want[i:end], have[i:end]) {
			if start < 0 {
				start = i
			}
			continue
		}
		w.res.Same += int64(end - i)
		if start >= 0 {
			if err := w.put(want[start:i], off+int64(start)); err != nil {
				return err
			}
			start = -1
		}
	}
	if start >= 0 {
		return w.put(want[start:], off+int64(start))
	}
	return nil
}

// patchByID goes over a window of a raw disk by its extents: what the target
// has with the chunk's id is right already and need not be fetched.
func (w *worker) patchByID(ctx context.Context, win window, have []byte) error {
	n := win.off / disk.RegionSize
	m, err := w.disk.RegionMap(ctx, n)
	if _, hurt := damageOf(err, pack.ID{}); hurt && w.disk.skipped != nil {
		return w.patchRange(ctx, win, have, 0, win.length)
	}
	if err != nil {
		return err
	}
	from := int(win.off - n*disk.RegionSize)
	ids := w.ids.of(w.store.Codec(), m, from, have)
	at, to := from, from+win.length
	for _, e := range m {
		begin, end := max(e.Off, from), min(e.Off+e.Len, to)
		if begin >= end {
			continue
		}
		if begin > at {
			if err := w.patchRange(ctx, win, have, at-from, begin-from); err != nil {
				return err
			}
		}
		same := false
		if isWhole(e, from, to) {
			same, ids = ids[0] == e.ID, ids[1:]
		}
		if same {
			w.res.Same += int64(e.Len)
		} else if err := w.patchRange(ctx, win, have, begin-from, end-from); err != nil {
			return err
		}
		at = end
	}
	return w.patchRange(ctx, win, have, at-from, to-from)
}

// isWhole reports whether all of a chunk, which is not empty, lies in [from, to) of its region.
func isWhole(e disk.Extent, from, to int) bool { return e.Off >= from && e.Off+e.Len <= to }

// haveIDs computes ids of what a target has, for one worker.
type haveIDs struct {
	ids   []pack.ID
	plain []blake.Message // of the last window
}

// of returns the ids of what have, which begins at from in its region, has in the places
// of m's whole chunks, in their order. They are computed together, which is faster than
// one by one, and hold until the next call.
func (h *haveIDs) of(codec *pack.Codec, m disk.RegionMap, from int, have []byte) []pack.ID {
	h.plain = h.plain[:0]
	for _, e := range m {
		if isWhole(e, from, from+len(have)) {
			h.plain = append(h.plain, blake.Message{have[e.Off-from : e.Off-from+e.Len]})
		}
	}
	h.ids = slices.Grow(h.ids[:0], len(h.plain))[:len(h.plain)]
	codec.IDs(h.ids, h.plain)
	return h.ids
}

// patchRange fetches [a, b) of the window and writes what differs.
func (w *worker) patchRange(ctx context.Context, win window, have []byte, a, b int) error {
	if a >= b {
		return nil
	}
	want := w.buf.at(win)[a:b]
	if _, err := image.ReadAt(ctx, w.img, w.disk, want, win.off+int64(a)); err != nil {
		return err
	}
	return w.patch(want, have[a:b], win.off+int64(a))
}

func (w *worker) put(b []byte, off int64) error {
	n, err := w.writeAt(b, off)
	w.res.Written += int64(n)
	w.prog.Written.Add(int64(n))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
