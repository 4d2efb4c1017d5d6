package heal

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/chunkstore"
	"holdfast/heal/background"
)

const (
	// scrubPeriod is how long a cycle may take, and how long after its begin the
	// next one begins: a pack that was proved first in one cycle and last in the
	// next one was without proof for two of them, which is less than 30 days.
	scrubPeriod = 14 * 24 * time.Hour
	// newWithin is when new packs are to be proved at the latest.
	newWithin = time.Hour
	// stepTime is how long one step of the job works.
	stepTime = time.Minute
	// idleTime is how often the job looks for new packs and versions.
	idleTime = time.Minute
	// leastPace is what a cycle reads a second also where the store is so small
	// that less would do: what is done early need not be done when others work.
	leastPace = 16 << 20
)

// jobName is what the scrub in the background is called.
const jobName = "scrub"

// BackgroundScrub keeps a store proved: new packs within the hour (deep, once:
// from then on their stored bytes vouch for what was decoded), new versions
// after them, and every pack within 30 days. What parity or a replica brings
// back is mended at once. It is a background.Job.
type BackgroundScrub struct {
	store func() *chunkstore.Store
	log   *slog.Logger
	rate  int64 // the runner's bound, to say when it is too small
	now   func() time.Time

	places  map[uint64]chunkstore.Places // see chunkstore.CountPlaces; of the time when the process began
	retry   map[uint64]retry
	unmoved retry                      // of the move of packs that were replaced
	marked  struct{ found, now int64 } // damage when the versions were last marked
	since   time.Time                  // when new packs were first seen of which some are left

	mu     sync.Mutex // guards what follows
	cycle  cycle
	status background.Status
}

// cycle is what is remembered of the scrub between processes.
type cycle struct {
	Began    time.Time `json:"began"`     // of the cycle that is under way, or ended last
	Ended    bool      `json:"ended"`     // it is not under way
	LastFull time.Time `json:"last_full"` // when the last one ended; zero: none did
	// Quarantined are the packs that were in quarantine when it began.
	Quarantined []string `json:"quarantined,omitempty"`
}

// retry says when what has failed, as the proof of a pack that could not be read, is tried again.
type retry struct {
	tries int
	next  time.Time
}

var _ background.Job = (*BackgroundScrub)(nil)

// NewBackgroundScrub returns the job. store returns the store where this process
// owns it at the moment, else nil; rate is the runner's, for what is said of it.
func NewBackgroundScrub(store func() *chunkstore.Store, rate int64, log *slog.Logger) *BackgroundScrub {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &BackgroundScrub{store: store, log: log, rate: rate, now: time.Now, retry: map[uint64]retry{}}
	b.marked.found = -1
	return b
}

// Name implements background.Job.
func (b *BackgroundScrub) Name() string { return jobName }

// Status implements background.Job.
func (b *BackgroundScrub) Status() background.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status
	b.cycle.tell(&st)
	return st
}

func (c cycle) tell(st *background.Status) {
	if !c.LastFull.IsZero() {
		st.LastFull = &c.LastFull
	}
	if !c.Began.IsZero() && !c.Ended {
		st.Began = &c.Began
	}
}

// LastScrub tells what is remembered of the background's scrub of a store that
// no process scrubs at the moment.
func LastScrub(store *chunkstore.Store) (background.Status, error) {
	st := background.Status{Job: jobName, State: background.Stopped}
	c, err := loadCycle(store)
	c.tell(&st)
	return st, err
}

func loadCycle(store *chunkstore.Store) (c cycle, err error) {
	v, err := store.Job(jobName)
	if err != nil || v == nil {
		return c, err
	}
	if json.Unmarshal(v, &c) != nil {
		return cycle{}, nil // another holdfast's: begin anew
	}
	return c, nil
}

func (b *BackgroundScrub) save(store *chunkstore.Store, c cycle) error {
	v, err := json.Marshal(c)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.cycle = c
	b.mu.Unlock()
	return store.SetJob(jobName, v)
}

func (b *BackgroundScrub) tell(change func(*background.Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
}

// Step implements background.Job.
func (b *BackgroundScrub) Step(ctx context.Context, turn *background.Turn) (time.Time, error) {
	store := b.store()
	later := time.Now().Add(idleTime) // of the machine's clock, which the runner goes by
	if store == nil {
		b.tell(func(st *background.Status) { st.Note = "another process owns the store" })
		return later, nil
	}
	sctx, end, ok := store.BeginBackgroundScrub(ctx)
	if !ok {
		b.tell(func(st *background.Status) { st.Note = "another scrub is running" })
		return later, nil
	}
	defer end()
	b.tell(func(st *background.Status) { st.Note = "" })
	r := &round{BackgroundScrub: b, store: store, turn: turn, until: b.now().Add(stepTime)}
	done, err := r.run(sctx)
	switch {
	case ctx.Err() != nil:
		return later, ctx.Err()
	case sctx.Err() != nil: // somebody called a scrub: that one goes first
		return later, nil
	case err != nil:
		return later, fmt.Errorf("scrub in the background: %w", err)
	case done:
		return later, nil
	}
	return time.Time{}, nil
}
