package chunkstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// ErrPruning says that a prune or a check of the store is already running.
var ErrPruning = errors.New("a prune or check of this store is running")

// ErrLostRoots says that the records of roots can't be read.
var ErrLostRoots = errors.New("the records of versions can't be read")

// Visit is called for every chunk that a root leads to, a map before what it
// leads to. It says whether what lies below the map is wanted; for data that
// does not matter.
type Visit func(id ID, kind pack.Kind) (into bool, err error)

// WalkFunc enumerates the chunks that a root leads to, without the root's own
// record. A map that can't be read is an error: what it leads to is not known.
type WalkFunc func(ctx context.Context, name string, body []byte, visit Visit) error

// PruneOptions say what a prune does. Walk must be given; the zero value of the
// rest frees all it can and keeps nothing in the trash.
type PruneOptions struct {
	// Doomed names the roots to drop. No root becomes visible while it
	// decides. Roots that were dropped before, and whose records still lie in
	// a pack, are among those it is shown. Nil: none.
	Doomed func(ctx context.Context, roots Roots) ([]string, error) `json:"-"`
	Walk   WalkFunc                                                 `json:"-"`

	DryRun      bool
	MaxRepack   int64         // most bytes copied to new packs; 0: no bound
	MaxUnused   float64       // share of the packs' bytes that may stay unused
	Grace       time.Duration // how long a pack stays in the trash
	MaxDuration time.Duration // after which it stops, to go on the next time; 0: no bound

	// GiveUpLost says that what roots need whose records can't be read may be
	// freed; else the prune refuses with ErrLostRoots while there are any.
	GiveUpLost bool

	Progress *PruneProgress `json:"-"` // nil: not told
}

// PruneProgress is how far a prune has come. It may be read at any time.
type PruneProgress struct {
	Phase       atomic.Pointer[string] // mark, condemn, wait, repack
	Done, Total atomic.Int64           // of the phase: chunks, then bytes; Total 0: not known
}

// PruneReport is what a prune did, or would do.
type PruneReport struct {
	DryRun   bool          `json:"dry_run"`
	Complete bool          `json:"complete"` // false: out of time; the next prune goes on
	Resumed  bool          `json:"resumed"`  // it went on with what an earlier one had begun
	Why      string        `json:"why,omitempty"`
	DiskFull bool          `json:"disk_full"` // there is no room for the packs that are to be written anew
	Duration time.Duration `json:"duration_ns"`

	Dropped    []string `json:"-"` // names of the roots
	Roots      int      `json:"roots_dropped"`
	Walked     int64    `json:"roots_walked"`
	Maps       int64    `json:"maps_read"`
	DeadChunks int64    `json:"dead_chunks"`
	DeadBytes  int64    `json:"dead_bytes"` // their records
	Revived    int64    `json:"revived_chunks"`

	Packs     int   `json:"packs_removed"`
	PackBytes int64 `json:"removed_bytes"` // what these packs took
	NewPacks  int   `json:"packs_written"`
	NewBytes  int64 `json:"written_bytes"`
	PutOff    int   `json:"packs_put_off"` // in use or damaged: left for the next time
	// Kept names packs of which it is not known what they held, because nothing in them
	// or not each record can be read: a repair decides of them.
	Kept []string `json:"packs_kept,omitempty"`

	DeletedPacks int   `json:"packs_deleted"` // from the trash
	FreedBytes   int64 `json:"freed_bytes"`   // by that
	TrashPacks   int   `json:"packs_in_trash"`
	TrashBytes   int64 `json:"trash_bytes"`
}

// pruning is what a store knows of the prune under way.
type pruning struct {
	running sync.Mutex    // held by the one prune or check that runs
	active  atomic.Bool   // chunks may be condemned
	revived atomic.Int64  // since the store was opened
	waitFor atomic.Uint64 // sessions below this number were open when the chunks were condemned
}

// phase is how far a prune has come. The numbers are on disk.
type phase int

const (
	phaseIdle      phase = 0
	phaseMarking   phase = 1
	phaseMarked    phase = 2 // the set of live chunks is complete
	phaseCondemned phase = 3 // the others are marked
)

// pruneState is what the index remembers of a prune, as JSON.
type pruneState struct {
	Generation uint64     `json:"generation"` // counts prunes
	Phase      phase      `json:"phase"`
	Clean      bool       `json:"clean"` // while marking: stopped in good order
	Runs       []marksRun `json:"runs"`  // of the set of live chunks
	NextRun    int        `json:"next_run"`
	Walk       uint64     `json:"walk"`   // number of the last root's walk
	Broken     []uint64   `json:"broken"` // walks that did not come to their end
}

func (s *Store) pruneState() (st pruneState, err error) {
	v, closer, err := s.index.Get([]byte{keyPrune})
	if errors.Is(err, pebble.ErrNotFound) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("look up state of the prune: %w", err)
	}
	defer closer.Close()
	if json.Unmarshal(v, &st) != nil || st.Phase < phaseIdle || st.Phase > phaseCondemned {
		return pruneState{}, nil // begin anew
	}
	return st, nil
}

func (s *Store) setPruneState(st pruneState, how *pebble.WriteOptions) error {
	v, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("remember state of the prune: %w", err)
	}
	if err := s.index.Set([]byte{keyPrune}, v, how); err != nil {
		return fmt.Errorf("remember state of the prune: %w", err)
	}
	return nil
}

// loadPruning makes sessions look at the marks that an earlier prune has left.
// It is called before the first session begins.
func (s *Store) loadPruning() error {
	st, err := s.pruneState()
	s.pruning.active.Store(st.Phase >= phaseMarked)
	return err
}

// pruner is one prune at work.
type pruner struct {
	*Store
	opts   PruneOptions
	state  pruneState
	spill  *spill
	report *PruneReport
	worked time.Time // since then it has not rested; zero: it has just begun
	left   bool      // packs that should go were left out
	began  time.Time
}

// errOutOfTime ends a prune that has used up its time.
var errOutOfTime = errors.New("the time is used up")

// errNoRoom ends a prune that has no room for a new pack.
var errNoRoom = errors.New("the disk is full")

// Prune frees what no root leads to. Captures, reads and scrubs go on beside it.
// One that was stopped, by ctx, its time, an error or a crash, has lost nothing,
// and the next one goes on; that its time was used up is no error. On an error
// the report tells what was done.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) (*PruneReport, error) {
	if !s.pruning.running.TryLock() {
		return nil, ErrPruning
	}
	defer s.pruning.running.Unlock()
	if opts.Progress == nil {
		opts.Progress = new(PruneProgress)
	}
	p := &pruner{Store: s, opts: opts, report: &PruneReport{DryRun: opts.DryRun}, began: time.Now()}
	if opts.MaxDuration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, p.began.Add(opts.MaxDuration), errOutOfTime)
		defer cancel()
	}
	s.takeRoom()
	defer s.leaveRoom()
	before := s.pruning.revived.Load()
	err := p.run(ctx)
	if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) == errOutOfTime {
		err = p.stopped(errOutOfTime)
	}
	if errors.Is(err, errNoRoom) {
		p.report.DiskFull = true
		err = p.stopped(errNoRoom)
	}
	p.report.Revived = s.pruning.revived.Load() - before
	p.report.Duration = time.Since(p.began)
	if err != nil {
		return p.report, fmt.Errorf("prune: %w", full(err))
	}
	s.log.Info("pruned", slog.Any("report", p.report))
	return p.report, nil
}

// stopped empties the trash all the same, which costs no time worth telling.
func (p *pruner) stopped(why error) error {
	p.report.Complete = false
	p.report.Why = why.Error()
	if p.opts.DryRun {
		return nil
	}
	return p.emptyTrash(context.Background(), p.opts.Grace, p.report)
}

func (p *pruner) run(ctx context.Context) (err error) {
	if p.state, err = p.pruneState(); err != nil {
		return err
	}
	if err := p.allKnown(); err != nil {
		return err
	}
	if err := p.noneLost(ctx); err != nil {
		return err
	}
	if p.opts.DryRun {
		return p.dryRun(ctx)
	}
	resumed := p.takeUp()
	p.report.Resumed = resumed
	if !resumed {
		if err := p.drop(ctx); err != nil {
			return err
		}
	}
	if err := p.cycle(ctx); err != nil {
		return err
	}
	if resumed {
		// What was forgotten since then waits for a prune of its own.
		if err := p.drop(ctx); err != nil {
			return err
		}
		if len(p.report.Dropped) > 0 {
			if err := p.cycle(ctx); err != nil {
				return err
			}
		}
	}
	p.report.Complete = true
	return p.emptyTrash(ctx, p.opts.Grace, p.report)
}

// allKnown refuses to prune while there is a pack of this store that neither the
// index knows nor anybody can read: the versions in it lead to chunks that would
// be taken for dead.
func (p *pruner) allKnown() error {
	if p.adopted.Stale {
		return errors.New("the index is of another state of the packs, and what versions need may not be known: run holdfast rebuild-index first, then prune")
	}
	for _, n := range p.adopted.Broken {
		if known, err := p.knows(n); err != nil {
			return err
		} else if known || !p.isThere(n) {
			continue
		}
		found := p.inspect(n)
		if foreign := found.header.Store != [16]byte{} && found.header.Store != p.cfg.storeID(); foreign {
			continue
		}
		if found.err == nil {
			return fmt.Errorf("pack %s can be read again and is not in the index yet: run holdfast scrub --repair first, then prune", packName(n))
		}
		return fmt.Errorf("pack %s can't be read, and may hold versions that need what would be freed: run holdfast scrub --repair, or move the file out of the store if it is none of its packs: %w", packName(n), found.err)
	}
	return nil
}

// takeUp reports whether there is a prune to go on with. One whose marks are gone
// begins anew: they are no part of the store, and may not have been copied with it.
func (p *pruner) takeUp() bool {
	switch p.state.Phase {
	case phaseCondemned:
		return true
	case phaseMarking, phaseMarked:
		var err error
		p.spill, err = reopenSpill(p.fs, p.spillPath(), p.state.Runs, p.state.NextRun)
		if err == nil && (p.state.Clean || p.state.Phase == phaseMarked) {
			return true
		}
	}
	p.spill = nil
	p.state = pruneState{Generation: p.state.Generation}
	return false
}

// cycle takes the prune from the phase that it is in to its end.
func (p *pruner) cycle(ctx context.Context) error {
	if p.state.Phase < phaseMarked {
		if err := p.mark(ctx); err != nil {
			return err
		}
	}
	if p.state.Phase < phaseCondemned {
		if err := p.condemnAll(ctx); err != nil {
			return err
		}
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	if err := p.sweep(ctx); err != nil {
		return err
	}
	return p.finish()
}

// condemnAll marks what is dead. From before the first mark on, sessions revive
// what they are told of; those that were open until the last one is there may
// know dead chunks from before, and are waited for.
func (p *pruner) condemnAll(ctx context.Context) error {
	p.phase("condemn", 0)
	p.pruning.active.Store(true)
	if err := p.clearKeys(string(rune(keyCondemned))); err != nil {
		return err
	}
	if err := p.condemn(ctx); err != nil {
		return err
	}
	p.state.Phase = phaseCondemned
	if err := p.setPruneState(p.state, pebble.Sync); err != nil {
		return err
	}
	p.mu.Lock()
	p.pruning.waitFor.Store(p.begun)
	p.mu.Unlock()
	return p.dropSpill()
}

// settle waits for the sessions that may rely on condemned chunks without
// having been told of them since, and walks the roots that have become visible
// since the mark.
func (p *pruner) settle(ctx context.Context) error {
	p.phase("wait", 0)
	if err := p.waitSessions(ctx, p.pruning.waitFor.Load()); err != nil {
		return err
	}
	m := &marker{pruner: p, seen: keySeen, found: func(id ID) error { _, err := p.revive(id); return err }}
	return m.roots(ctx)
}

// waitSessions waits until every session below that number has ended.
func (s *Store) waitSessions(ctx context.Context, number uint64) error {
	for {
		s.mu.Lock()
		open, ended := 0, s.ended
		for ses := range s.sessions {
			if ses.number < number {
				open++
			}
		}
		s.mu.Unlock()
		if open == 0 {
			return ctx.Err()
		}
		s.log.Info("prune waits for captures that began before it", "captures", open)
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finish ends the prune: nothing is condemned any more.
func (p *pruner) finish() error {
	if err := p.forgetDropped(); err != nil {
		return err
	}
	p.state = pruneState{Generation: p.state.Generation}
	if err := p.setPruneState(p.state, pebble.NoSync); err != nil {
		return err
	}
	if err := p.clearKeys(string([]byte{keyCondemned, keyWalked, keySeen})); err != nil {
		return err
	}
	// Now all of it is durable: a root that was dropped counts again when its pack
	// comes back from a backup, also after a crash.
	if err := p.setPruneState(p.state, pebble.Sync); err != nil {
		return err
	}
	p.pruning.active.Store(false)
	return nil
}

func (p *pruner) spillPath() string { return p.fs.PathJoin(p.dir, spillDir) }

func (p *pruner) dropSpill() error {
	s := p.spill
	if p.spill = nil; s == nil {
		return nil
	}
	if err := s.remove(); err != nil {
		return fmt.Errorf("remove marks: %w", err)
	}
	return nil
}

func (p *pruner) phase(name string, total int64) {
	p.opts.Progress.Phase.Store(&name)
	p.opts.Progress.Done.Store(0)
	p.opts.Progress.Total.Store(total)
}

func (p *pruner) step(n int64) { p.opts.Progress.Done.Add(n) }
