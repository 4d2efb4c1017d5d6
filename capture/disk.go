package capture

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// captureDisk captures one disk into the session and returns its entry in the
// version.
func captureDisk(ctx context.Context, store Store, ses chunkstore.Session, in Input, prev *previous, guest guestDisk, opts *Options) (*catalog.Disk, error) {
	began := time.Now()
	d := &catalog.Disk{Name: in.Name, Source: in.Path, Format: in.Source.Format, Notices: in.Source.Notices}
	rand.Read(d.UUID[:])
	size := in.Source.Size()
	c := &diskCapture{store: store, ses: ses, src: in.Source, prev: prev, guest: guest, opts: opts, codec: store.Codec()}
	builder, err := disk.NewBuilder(size, c.putMap)
	if err != nil {
		return nil, err
	}
	if d.Map, err = c.run(ctx, builder, size); err != nil {
		return nil, err
	}
	d.Notices = append(d.Notices, guest.notices()...)
	if changed := guest.stamps[in.Name].changed(); changed != "" {
		d.Notices = append(d.Notices, fmt.Sprintf("%s changed while it was read: the version may mix states of different moments", changed))
	}
	d.Counts = c.counts
	d.Counts.LogicalBytes = size
	d.Counts.Duration = time.Since(began)
	return d, nil
}

// diskCapture is one disk's capture under way.
type diskCapture struct {
	store Store
	ses   chunkstore.Session
	src   sourceDisk
	prev  *previous
	guest guestDisk
	opts  *Options
	codec *pack.Codec

	mu     sync.Mutex // guards counts
	counts catalog.Counts
}

// result is what a worker made of one region.
type result struct {
	seq       int64
	n         int64
	regionMap disk.RegionMap
	unchanged bool // equal to the previous version's map of the region
}

// run reads regions, works on others meanwhile, both in parallel, and feeds their maps
// to the builder in order.
func (c *diskCapture) run(ctx context.Context, b *disk.Builder, size int64) (disk.Map, error) {
	g, gctx := errgroup.WithContext(ctx) // gctx ends with the group; Finish comes after it
	work := make(chan task)
	// As many results may wait for an earlier region as there are workers;
	// maps are small.
	window := make(chan struct{}, 2*c.opts.Workers)
	results := make(chan result, 2*c.opts.Workers)
	g.Go(func() error {
		defer close(work)
		return c.plan(gctx, size, window, work)
	})
	free := newBuffers(c.opts.Workers)
	read := make(chan loaded, c.opts.Workers)
	var readers, workers sync.WaitGroup
	for range loaders(c.opts.Workers) {
		readers.Add(1)
		g.Go(func() error {
			defer readers.Done()
			return c.load(gctx, work, free, read)
		})
	}
	go func() { readers.Wait(); close(read) }()
	for range c.opts.Workers {
		workers.Add(1)
		g.Go(func() error {
			defer workers.Done()
			return c.work(gctx, read, free, results)
		})
	}
	go func() { workers.Wait(); close(results) }()
	g.Go(func() error { return c.collect(gctx, b, results, window) })
	if err := g.Wait(); err != nil {
		return disk.Map{}, err
	}
	return b.Finish(ctx)
}

// task is one region that holds data in the source.
type task struct {
	seq     int64 // counts tasks, which are handed out in the order of regions
	n       int64
	length  int
	extents []span // data to capture, relative to the region
	reads   []span // what is read for it: extents, and what lies between them
	left    int64  // bytes of data that are left out
}

type span struct{ from, to int }

// collect hands maps to the builder in the order of the regions.
func (c *diskCapture) collect(ctx context.Context, b *disk.Builder, results <-chan result, window <-chan struct{}) error {
	waiting := map[int64]result{}
	next := int64(0)
	for r := range results {
		waiting[r.seq] = r
		for {
			r, ok := waiting[next]
			if !ok {
				break
			}
			delete(waiting, next)
			if err := c.enter(ctx, b, r); err != nil {
				return err
			}
			<-window
			next++
		}
	}
	return ctx.Err()
}

// enter adds one region's map to the disk map. An unchanged one is in the
// store: its id is computed and nothing is looked up.
func (c *diskCapture) enter(ctx context.Context, b *disk.Builder, r result) error {
	if len(r.regionMap) == 0 {
		return nil
	}
	if !r.unchanged {
		return b.Add(ctx, r.n, r.regionMap)
	}
	plain, err := r.regionMap.Encode(nil)
	if err != nil {
		return err
	}
	return b.AddKnown(ctx, r.n, c.store.ID(plain), r.regionMap.Bitmap(), r.regionMap.DataBytes())
}

// putMap stores a region map or a node of the disk map.
func (c *diskCapture) putMap(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
	id := c.store.ID(plain)
	var have [1]bool
	if err := c.ses.Has(ctx, []pack.ID{id}, have[:]); err != nil {
		return pack.ID{}, err
	}
	if have[0] {
		return id, nil
	}
	res, err := c.ses.Put(ctx, []pack.Record{c.codec.Encode(nil, kind, id, plain)})
	if err != nil {
		return pack.ID{}, err
	}
	c.mu.Lock()
	c.counts.StoredBytes += res.StoredBytes
	c.mu.Unlock()
	c.opts.Progress.Stored.Add(res.StoredBytes)
	return id, nil
}
