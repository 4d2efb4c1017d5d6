package background

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Job is one duty. Its methods but Status are called by one goroutine.
type Job interface {
	// Name is a word that a person knows: "scrub".
	Name() string
	// Step works for a minute or so and returns when it wants to be called
	// again; the zero time means at once, after the other jobs. It ends soon
	// after ctx does. Reads go through the turn.
	Step(ctx context.Context, turn *Turn) (next time.Time, err error)
	// Status tells how far it is. It is called at any time by any goroutine.
	Status() Status
}

// Status is what a person is told of a job.
type Status struct {
	Job      string     `json:"job"`
	State    State      `json:"state"`
	Error    string     `json:"error,omitempty"` // why the last step failed
	LastFull *time.Time `json:"last_full,omitempty"`
	Began    *time.Time `json:"began,omitempty"` // the cycle that is under way
	Done     int64      `json:"done_bytes"`      // of it
	Total    int64      `json:"total_bytes"`
	Next     *time.Time `json:"next,omitempty"` // when it works again
	Queue    int        `json:"queue"`          // items that wait, of a job that has a queue
	Note     string     `json:"note,omitempty"`
	// Of a job that is done now and then: when its next cycle begins, and what
	// the last one freed.
	Due        *time.Time `json:"due,omitempty"`
	FreedBytes *int64     `json:"freed_bytes,omitempty"`
}

// State is what a job does at the moment.
type State string

const (
	Waiting  State = "waiting"  // until Status.Next
	Running  State = "running"  // it works, or another job does and it is next
	Yielding State = "yielding" // it would work, and lets others go first
	Failed   State = "failed"   // its last step failed; it is tried again at Status.Next
	Stopped  State = "stopped"
)

const (
	firstRetry = time.Minute
	lastRetry  = 6 * time.Hour
)

// Options say how jobs run. The zero value runs them without regard for others.
type Options struct {
	// Working reports whether somebody works with the store now, and when the
	// last one stopped; nil: nobody ever does.
	Working func() (now bool, last time.Time)
	Rate    int64        // bytes a second at most; 0: no limit but the jobs' own
	Log     *slog.Logger // nil: nothing is logged
}

// Runner runs jobs until Stop.
type Runner struct {
	opts   Options
	turn   *Turn
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{}

	mu   sync.Mutex // guards what follows
	jobs []*duty
}

// duty is a job and when it is due.
type duty struct {
	Job
	next  time.Time // zero: now
	fails int
	err   error
	ended bool
}

// Start begins to run jobs.
func Start(opts Options, jobs ...Job) *Runner {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Runner{opts: opts, turn: newTurn(opts), cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	for _, j := range jobs {
		r.jobs = append(r.jobs, &duty{Job: j})
	}
	go r.run(ctx)
	return r
}

// Stop ends all jobs and returns when they have: after the read or the write at
// most that is under way.
func (r *Runner) Stop() {
	r.cancel()
	<-r.done
}

// Wake makes every job that waits look for work now.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Status tells what the jobs do.
func (r *Runner) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Status
	for _, d := range r.jobs {
		st := d.Status()
		st.Job, st.State = d.Name(), Running
		switch {
		case d.ended:
			st.State = Stopped
		case d.err != nil:
			st.State, st.Error = Failed, d.err.Error()
		case !d.next.IsZero():
			st.State = Waiting
		case r.turn.yielding.Load():
			st.State = Yielding
		}
		if !d.next.IsZero() {
			next := d.next
			st.Next = &next
		}
		all = append(all, st)
	}
	return all
}

// run is the one thread of all jobs. It is never unlocked, so that it ends with
// the goroutine and its priorities with it.
func (r *Runner) run(ctx context.Context) {
	defer close(r.done)
	if err := lowerThread(); err != nil {
		r.opts.Log.Warn("jobs in the background run with the priority of all others", "err", err)
	}
	for ctx.Err() == nil {
		d, wait := r.due()
		if d == nil {
			r.sleep(ctx, wait)
			continue
		}
		next, err := d.Step(ctx, r.turn)
		r.settle(ctx, d, next, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.jobs {
		d.ended = true
	}
}

// due returns the job that has waited longest of those that are due, or how
// long there is none.
func (r *Runner) due() (*duty, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	wait := lastRetry
	for i, d := range r.jobs {
		if left := d.next.Sub(now); !d.next.IsZero() && left > 0 {
			wait = min(wait, left)
			continue
		}
		d.next = time.Time{}
		r.jobs = append(append(r.jobs[:i:i], r.jobs[i+1:]...), d) // the others first, next time
		return d, 0
	}
	return nil, wait
}

func (r *Runner) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-r.wake:
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, d := range r.jobs {
			if d.err == nil {
				d.next = time.Time{}
			}
		}
	}
}

func (r *Runner) settle(ctx context.Context, d *duty, next time.Time, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.next, d.err = next, nil
	if err == nil || errors.Is(err, context.Canceled) { // it stepped aside
		d.fails = 0
		return
	}
	wait := min(firstRetry<<min(d.fails, 16), lastRetry)
	d.fails, d.err, d.next = d.fails+1, err, time.Now().Add(wait)
	r.opts.Log.Error("a job in the background failed; it is tried again", "job", d.Name(), "in", wait, "err", err)
}
