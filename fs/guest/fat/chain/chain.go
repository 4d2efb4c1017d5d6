// Package chain follows chains of clusters through the tables of FAT and exFAT,
// and remembers the runs that it found.
package chain

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"holdfast/fs/guest"
)

// End is what follows the last cluster of a chain.
const End = 1<<32 - 1

// first is the number of the first cluster.
const first = 2

// Table is the table of a volume. Next tells what follows a cluster; it is only
// asked for clusters that there are. Safe for concurrent use when Next is.
type Table struct {
	Next     func(ctx context.Context, cluster uint32) (uint32, error)
	Clusters uint32 // from number 2 on

	mu     sync.Mutex // guards what follows
	clock  uint64
	chains map[uint32]*chain // by the first cluster
}

func (t *Table) has(cluster uint32) bool { return cluster >= first && cluster-first < t.Clusters }

// Run is a run of a file's clusters.
type Run struct {
	First   uint32 // its number in the file
	Cluster uint32
	Count   uint32
}

// maxRuns is the most runs of a file that are remembered; what comes behind is
// walked anew each time.
const maxRuns = 1 << 17

// chain is what is known of a file's clusters. Guarded by Table.mu, but for runs
// that are taken out: they don't change.
type chain struct {
	start uint32
	runs  []Run
	next  uint32 // behind the last run; 0 at the end
	used  uint64 // when, for dropping the oldest
}

const maxChains = 16

// Each calls fn for the runs of a chain from the file's cluster number from
// on, until fn returns false or the clusters from limit on are reached.
func (t *Table) Each(ctx context.Context, start, from, limit uint32, fn func(Run) bool) error {
	c := t.chain(start)
	for i, last, next := t.near(c, from), (Run{}), uint32(0); ; i++ {
		var r Run
		var err error
		if i <= maxRuns {
			r, next, err = t.runAt(ctx, c, i)
		} else { // too many to be remembered
			r, next, err = t.follow(ctx, last.First+last.Count, next)
		}
		if err != nil || r.Count == 0 || r.First >= limit {
			return err
		}
		if last = r; r.First+r.Count <= from {
			continue
		}
		r.Count = min(r.Count, limit-r.First)
		if !fn(r) {
			return nil
		}
	}
}

// chain gives what is remembered of a chain, or begins it.
func (t *Table) chain(start uint32) *chain {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	if t.chains == nil {
		t.chains = map[uint32]*chain{}
	}
	c := t.chains[start]
	if c == nil {
		if len(t.chains) >= maxChains {
			oldest := (*chain)(nil)
			for _, x := range t.chains {
				if oldest == nil || x.used < oldest.used {
					oldest = x
				}
			}
			delete(t.chains, oldest.start)
		}
		c = &chain{start: start, next: start}
		t.chains[start] = c
	}
	c.used = t.clock
	return c
}

// near gives the number of the last run that is remembered and does not begin
// behind a cluster of the file.
func (t *Table) near(c *chain, from uint32) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, found := slices.BinarySearchFunc(c.runs, from, func(r Run, at uint32) int { return cmp.Compare(r.First, at) })
	if !found {
		i--
	}
	return max(i, 0)
}

// runAt gives run i of a chain, of which those before are remembered, and the
// cluster behind it. Its count is 0 at the end.
func (t *Table) runAt(ctx context.Context, c *chain, i int) (r Run, next uint32, err error) {
	t.mu.Lock()
	known := len(c.runs)
	if i < known {
		defer t.mu.Unlock()
		if i+1 < known {
			return c.runs[i], c.runs[i+1].Cluster, nil
		}
		return c.runs[i], c.next, nil
	}
	first, start := uint32(0), c.next
	if known > 0 {
		first = c.runs[known-1].First + c.runs[known-1].Count
	}
	t.mu.Unlock()
	r, next, err = t.follow(ctx, first, start)
	if err != nil || r.Count == 0 {
		return Run{}, 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(c.runs) == known && known <= maxRuns { // else another was faster
		c.runs, c.next = append(c.runs, r), next
	}
	return r, next, nil
}

// follow gives the run that begins with a cluster, and the cluster behind it;
// 0 is the end.
func (t *Table) follow(ctx context.Context, first, cluster uint32) (r Run, next uint32, err error) {
	if cluster == 0 {
		return Run{}, 0, nil
	}
	r = Run{First: first, Cluster: cluster}
	for {
		switch {
		case !t.has(cluster):
			return Run{}, 0, guest.Corrupt("a chain leads to cluster %d of %d", cluster, t.Clusters)
		case first+r.Count >= t.Clusters:
			return Run{}, 0, guest.Corrupt("a chain goes in a circle")
		}
		r.Count++
		if next, err = t.Next(ctx, cluster); err != nil {
			return Run{}, 0, err
		}
		switch {
		case next == End:
			return r, 0, nil
		case next != cluster+1:
			return r, next, nil
		case r.Count%4096 == 0 && ctx.Err() != nil:
			return Run{}, 0, ctx.Err()
		}
		cluster = next
	}
}
