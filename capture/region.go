package capture

import (
	"context"
	"fmt"
	"slices"

	"holdfast/chunkstore/blake"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// batchBytes is how many record bytes are put at once.
const batchBytes = 1 << 20

// worker is what one goroutine needs for one region at a time.
type worker struct {
	*diskCapture
	region []byte // the region's bytes, in a buffer of its own for each task
	cuts   []int
	ids    []pack.ID
	plain  []blake.Message // chunks of the region
	chains []pack.Chain    // theirs
	starts []int           // where in chains those of each chunk begin
	want   []int           // indexes into the region map: chunks not known from before
	have   []bool
	recs   []pack.Record
	buf    []byte // the records' bytes
	counts catalog.Counts
}

// work makes results of the regions that were read until there are no more, and gives
// the buffers back.
func (c *diskCapture) work(ctx context.Context, in <-chan loaded, free *buffers, results chan<- result) error {
	w := &worker{diskCapture: c, buf: make([]byte, 0, batchBytes+2*pack.MaxRecord)}
	defer func() {
		c.mu.Lock()
		c.counts = c.counts.Add(w.counts)
		c.mu.Unlock()
	}()
	for l := range in {
		w.region = l.buf.region
		r, err := w.do(ctx, l.task)
		if err != nil {
			return err
		}
		free.put(l.buf)
		select {
		case results <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.opts.Progress.Done.Add(l.task.dataBytes())
	}
	return ctx.Err()
}

func (t *task) dataBytes() (n int64) {
	for _, s := range t.extents {
		n += int64(s.to - s.from)
	}
	return n
}

// do turns one region into a region map, and puts the chunks that are new.
func (w *worker) do(ctx context.Context, t task) (result, error) {
	w.counts.ReadBytes += t.dataBytes()
	m := w.cut(t)
	prev, err := w.prev.region(ctx, t.n)
	if err != nil {
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		w.opts.Log.Warn("a region of the previous version can't be read; its chunks are looked up", "region", t.n, "err", err)
	}
	unchanged := w.compare(m, prev)
	if !unchanged {
		if err := w.putMissing(ctx, m); err != nil {
			return result{}, fmt.Errorf("bytes from %d: %w", t.n*disk.RegionSize, err)
		}
	}
	return result{seq: t.seq, n: t.n, regionMap: m, unchanged: unchanged}, nil
}

// cut divides the region into cells, drops zeros, and names what is left. The
// result is fresh; it outlives the worker's buffers.
func (w *worker) cut(t task) disk.RegionMap {
	w.cuts = w.guest.cut(w.cuts[:0], t.n, t.length)
	m := make(disk.RegionMap, 0, len(w.cuts))
	from := 0
	for _, end := range w.cuts {
		if a, b := trimZeros(w.region, from, end); a < b {
			m = append(m, disk.Extent{Off: a, Len: b - a})
		}
		from = end
	}
	w.name(m)
	w.counts.Chunks += int64(len(m))
	w.counts.ZeroBytes += t.dataBytes() - min(t.dataBytes(), m.DataBytes())
	return m
}

// name sets the ids of the region's chunks, and keeps their chains for their records.
func (w *worker) name(m disk.RegionMap) {
	w.plain, w.starts, w.ids = w.plain[:0], w.starts[:0], slices.Grow(w.ids[:0], len(m))[:len(m)]
	n := 0
	for _, e := range m {
		w.plain = append(w.plain, blake.Message{w.region[e.Off : e.Off+e.Len]})
		w.starts = append(w.starts, n)
		n += w.codec.ChainsOf(e.Len)
	}
	w.chains = slices.Grow(w.chains[:0], n)[:n]
	w.codec.NameMany(w.ids, w.chains, w.plain)
	for i, id := range w.ids {
		m[i].ID = id
	}
}

// compare sets w.want to the chunks that the previous version does not have at
// the same place, and reports whether both maps are equal.
func (w *worker) compare(m, prev disk.RegionMap) bool {
	w.want = w.want[:0]
	k := 0
	for i, e := range m {
		for k < len(prev) && prev[k].Off < e.Off {
			k++
		}
		if k == len(prev) || prev[k] != e {
			w.want = append(w.want, i)
		}
	}
	return len(w.want) == 0 && len(m) == len(prev)
}

// putMissing puts the wanted chunks that the store does not have.
func (w *worker) putMissing(ctx context.Context, m disk.RegionMap) error {
	if len(w.want) == 0 {
		return nil
	}
	w.ids, w.have = w.ids[:0], w.have[:0]
	for _, i := range w.want {
		w.ids, w.have = append(w.ids, m[i].ID), append(w.have, false)
	}
	if err := w.ses.Has(ctx, w.ids, w.have); err != nil {
		return err
	}
	for k, i := range w.want {
		if w.have[k] {
			continue
		}
		e := m[i]
		start := len(w.buf)
		chains := w.chains[w.starts[i]:][:w.codec.ChainsOf(e.Len)]
		rec := w.codec.EncodeNamed(w.buf, pack.KindData, e.ID, chains, w.region[e.Off:e.Off+e.Len])
		w.buf = w.buf[:start+len(rec.Bytes)]
		w.recs = append(w.recs, rec)
		if len(w.buf) >= batchBytes {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	return w.flush(ctx)
}

// flush puts the batch.
func (w *worker) flush(ctx context.Context) error {
	if len(w.recs) == 0 {
		return nil
	}
	res, err := w.ses.Put(ctx, w.recs)
	w.recs, w.buf = w.recs[:0], w.buf[:0]
	w.counts.NewBytes += res.PlainBytes
	w.counts.StoredBytes += res.StoredBytes
	w.counts.NewChunks += int64(res.Records)
	w.opts.Progress.New.Add(res.PlainBytes)
	w.opts.Progress.Stored.Add(res.StoredBytes)
	return err
}
