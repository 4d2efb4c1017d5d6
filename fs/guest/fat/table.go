package fat

import (
	"cmp"
	"context"
	"slices"

	"holdfast/fs/guest"
)

const (
	cacheBytes = 4 << 20
	pageBytes  = 64 << 10
)

// read gives n bytes of the volume through the cache. They are shared.
func (f *FS) read(ctx context.Context, off, n int64) ([]byte, error) {
	page, within := off/pageBytes, off%pageBytes
	if within+n > pageBytes {
		head, err := f.read(ctx, off, pageBytes-within)
		if err != nil {
			return nil, err
		}
		tail, err := f.read(ctx, off+int64(len(head)), n-int64(len(head)))
		return append(head[:len(head):len(head)], tail...), err
	}
	b, err := f.cache.Get(ctx, page, func() ([]byte, error) {
		p := make([]byte, min(pageBytes, f.volume.Size()-page*pageBytes))
		return p, guest.ReadFull(ctx, f.volume, p, page*pageBytes)
	})
	if err == nil && within+n <= int64(len(b)) {
		return b[within:][:n:n], nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p := make([]byte, n) // the trouble may lie in a neighbour
	return p, guest.ReadFull(ctx, f.volume, p, off)
}

// Values of an entry in the FAT, of 28 bits.
const (
	isFree = 0
	isBad  = 0x0ffffff7
	isEnd  = 0x0ffffff8 // and above
)

// next gives the entry of a cluster, as if it had 28 bits.
func (f *FS) next(ctx context.Context, cluster uint32) (uint32, error) {
	v, err := f.entryAt(ctx, f.g.tableAt, cluster)
	if err != nil && ctx.Err() == nil && f.g.mirrorAt != 0 {
		v, err = f.entryAt(ctx, f.g.mirrorAt, cluster)
	}
	return v, err
}

func (f *FS) entryAt(ctx context.Context, table int64, cluster uint32) (uint32, error) {
	off := table + int64(cluster)*int64(f.g.bits)/8
	n := int64(f.g.bits+7) / 8
	b, err := f.read(ctx, off, n)
	if err != nil {
		return 0, err
	}
	var v, most uint32
	switch f.g.bits {
	case 12:
		v, most = uint32(le.Uint16(b))>>(cluster%2*4)&0xfff, 0xff7
	case 16:
		v, most = uint32(le.Uint16(b)), 0xfff7
	default:
		return le.Uint32(b) & 0x0fffffff, nil
	}
	if v >= most {
		v += isBad - most
	}
	return v, nil
}

// checkTable takes the mirror for the FAT when the FAT does not begin as it
// must, and the mirror does.
func (f *FS) checkTable(ctx context.Context) error {
	good := func(table int64) (bool, error) {
		b, err := f.read(ctx, table, 4)
		return err == nil && b[0] == f.g.media && b[1] == 0xff, err
	}
	first, err := good(f.g.tableAt)
	if first || ctx.Err() != nil {
		return ctx.Err()
	}
	if f.g.mirrorAt != 0 {
		if second, _ := good(f.g.mirrorAt); second {
			f.g.tableAt, f.g.mirrorAt = f.g.mirrorAt, 0
			f.state.Reason = "the first FAT is damaged, the second one is used"
			return ctx.Err()
		}
	}
	return err // without a good one, the first is as it is
}

// run is a run of a file's clusters.
type run struct {
	first   uint32 // its number in the file
	cluster uint32
	count   uint32
}

// maxRuns is the most runs of a file that are remembered; what comes behind is
// walked anew each time.
const maxRuns = 1 << 17

// chain is what is known of a file's clusters. Guarded by FS.mu, but for runs
// that are taken out: they don't change.
type chain struct {
	start uint32
	runs  []run
	next  uint32 // behind the last run; 0 at the end
	used  uint64 // when, for dropping the oldest
}

const maxChains = 16

// eachRun calls fn for the runs of a chain from the file's cluster number from
// on, until fn returns false or the clusters from limit on are reached.
func (f *FS) eachRun(ctx context.Context, start, from, limit uint32, fn func(run) bool) error {
	c := f.chain(start)
	for i, last, next := f.near(c, from), (run{}), uint32(0); ; i++ {
		var r run
		var err error
		if i <= maxRuns {
			r, next, err = f.runAt(ctx, c, i)
		} else { // too many to be remembered
			r, next, err = f.follow(ctx, last.first+last.count, next)
		}
		if err != nil || r.count == 0 || r.first >= limit {
			return err
		}
		if last = r; r.first+r.count <= from {
			continue
		}
		r.count = min(r.count, limit-r.first)
		if !fn(r) {
			return nil
		}
	}
}

// chain gives what is remembered of a chain, or begins it.
func (f *FS) chain(start uint32) *chain {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock++
	c := f.chains[start]
	if c == nil {
		if len(f.chains) >= maxChains {
			oldest := (*chain)(nil)
			for _, x := range f.chains {
				if oldest == nil || x.used < oldest.used {
					oldest = x
				}
			}
			delete(f.chains, oldest.start)
		}
		c = &chain{start: start, next: start}
		f.chains[start] = c
	}
	c.used = f.clock
	return c
}

// near gives the number of the last run that is remembered and does not begin
// behind a cluster of the file.
func (f *FS) near(c *chain, from uint32) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, found := slices.BinarySearchFunc(c.runs, from, func(r run, at uint32) int { return cmp.Compare(r.first, at) })
	if !found {
		i--
	}
	return max(i, 0)
}

// runAt gives run i of a chain, of which those before are remembered, and the
// cluster behind it. Its count is 0 at the end.
func (f *FS) runAt(ctx context.Context, c *chain, i int) (r run, next uint32, err error) {
	f.mu.Lock()
	known := len(c.runs)
	if i < known {
		defer f.mu.Unlock()
		if i+1 < known {
			return c.runs[i], c.runs[i+1].cluster, nil
		}
		return c.runs[i], c.next, nil
	}
	first, start := uint32(0), c.next
	if known > 0 {
		first = c.runs[known-1].first + c.runs[known-1].count
	}
	f.mu.Unlock()
	r, next, err = f.follow(ctx, first, start)
	if err != nil || r.count == 0 {
		return run{}, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(c.runs) == known && known <= maxRuns { // else another was faster
		c.runs, c.next = append(c.runs, r), next
	}
	return r, next, nil
}

// follow gives the run that begins with a cluster, and the cluster behind it;
// 0 is the end.
func (f *FS) follow(ctx context.Context, first, cluster uint32) (r run, next uint32, err error) {
	if cluster == 0 {
		return run{}, 0, nil
	}
	r = run{first: first, cluster: cluster}
	for {
		switch {
		case !f.g.has(cluster):
			return run{}, 0, guest.Corrupt("fat: a chain leads to cluster %d of %d", cluster, f.g.clusters)
		case first+r.count >= f.g.clusters:
			return run{}, 0, guest.Corrupt("fat: a chain goes in a circle")
		}
		r.count++
		if next, err = f.next(ctx, cluster); err != nil {
			return run{}, 0, err
		}
		switch {
		case next >= isEnd:
			return r, 0, nil
		case next != cluster+1:
			return r, next, nil
		case r.count%4096 == 0 && ctx.Err() != nil:
			return run{}, 0, ctx.Err()
		}
		cluster = next
	}
}
