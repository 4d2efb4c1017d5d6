package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/heal/background"
)

const (
	pruneJobName = "prune"
	// pruneStep is how long a prune works before other jobs are due. The walk of
	// one root is not taken up in its middle: it must fit.
	pruneStep = 30 * time.Minute
	// pruneLook is how often it is looked whether a prune is due.
	pruneLook = time.Minute
)

// backgroundPrune prunes a store as its policy says. It is a background.Job.
type backgroundPrune struct {
	h    *owner.Handle
	turn *pruneTurn
	log  *slog.Logger
	now  func() time.Time

	mu     sync.Mutex // guards status
	status background.Status
}

var _ background.Job = (*backgroundPrune)(nil)

func newBackgroundPrune(h *owner.Handle, turn *pruneTurn, log *slog.Logger) *backgroundPrune {
	return &backgroundPrune{h: h, turn: turn, log: log, now: time.Now}
}

// pruneRound is what is remembered of the prunes in the background.
type pruneRound struct {
	Began     time.Time     `json:"began"` // of the one under way, or the last one
	Ended     bool          `json:"ended"`
	Used      time.Duration `json:"used_ns"` // of its time
	Complete  bool          `json:"complete"`
	Forgotten int           `json:"forgotten"` // versions, by policy
	Freed     int64         `json:"freed_bytes"`
	LastEnd   time.Time     `json:"last_end"`   // when the last one ended; zero: none did
	LastFreed int64         `json:"last_freed"` // by that one
}

func loadPruneRound(s *chunkstore.Store) (r pruneRound, err error) {
	v, err := s.Job(pruneJobName)
	if err == nil && v != nil && json.Unmarshal(v, &r) != nil {
		r = pruneRound{} // another holdfast's: begin anew
	}
	return r, err
}

func (r pruneRound) save(s *chunkstore.Store) error {
	v, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.SetJob(pruneJobName, v)
}

// due returns when the next one begins; the zero time: now.
func (r pruneRound) due(p catalog.Pruning, now time.Time) time.Time {
	next := r.Began.Add(p.Every)
	if r.Began.IsZero() || r.Began.After(now) || !next.After(now) { // a clock that went back makes it begin
		return time.Time{}
	}
	return next
}

// tell says what is remembered.
func (r pruneRound) tell(st *background.Status, p catalog.Pruning, now time.Time) {
	if !r.LastEnd.IsZero() {
		end, freed := r.LastEnd, r.LastFreed
		st.LastFull, st.FreedBytes = &end, &freed
	}
	switch due := r.due(p, now); {
	case !p.On():
		st.Note = "off: holdfast policy set --prune weekly"
	case !r.Began.IsZero() && !r.Ended:
		began := r.Began
		st.Began = &began
	case due.IsZero():
		st.Due = &now
	default:
		st.Due = &due
	}
	if r.Ended && !r.Complete && p.On() {
		st.Note = "its time was used up; the next one goes on"
	}
}

// Name implements background.Job.
func (b *backgroundPrune) Name() string { return pruneJobName }

// Status implements background.Job.
func (b *backgroundPrune) Status() background.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *backgroundPrune) tell(r pruneRound, p catalog.Pruning, note string) {
	st := background.Status{}
	r.tell(&st, p, b.now())
	if note != "" {
		st.Note = note
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = st
}

// lastPrune tells what is remembered where no process prunes at the moment.
func lastPrune(ctx context.Context, s *chunkstore.Store) (background.Status, error) {
	st := background.Status{Job: pruneJobName, State: background.Stopped}
	p, err := catalog.PruningOf(ctx, s)
	if err != nil {
		st.Note = err.Error()
		return st, nil
	}
	r, err := loadPruneRound(s)
	r.tell(&st, p, time.Now())
	return st, err
}

// Step implements background.Job.
func (b *backgroundPrune) Step(ctx context.Context, _ *background.Turn) (time.Time, error) {
	later := time.Now().Add(pruneLook)
	s := b.h.Local()
	if s == nil {
		b.tell(pruneRound{}, catalog.Pruning{Every: 1}, "another process owns the store")
		return later, nil
	}
	p, err := catalog.PruningOf(ctx, s)
	if err != nil {
		return later, err
	}
	r, err := loadPruneRound(s)
	if err != nil {
		return later, err
	}
	b.tell(r, p, "")
	underWay := !r.Began.IsZero() && !r.Ended
	if !p.On() || !underWay && !r.due(p, b.now()).IsZero() {
		return later, b.tidy(ctx, s)
	}
	pctx, end, ok := b.turn.begin(ctx)
	if !ok {
		b.tell(r, p, "a prune or check that somebody called goes first")
		return later, nil
	}
	defer end()
	again, err := b.work(pctx, s, p, r)
	switch {
	case ctx.Err() != nil:
		return later, ctx.Err()
	case pctx.Err() != nil, errors.Is(err, chunkstore.ErrPruning): // somebody called one: that goes first
		return later, nil
	case err != nil:
		return later, fmt.Errorf("prune in the background: %w", err)
	case again:
		return time.Time{}, nil
	}
	return later, nil
}

// tidy does what costs next to nothing while no prune is due: it empties the trash
// of what has been there for its grace, and keeps the reserve. One that somebody
// called does both by itself.
func (b *backgroundPrune) tidy(ctx context.Context, s *chunkstore.Store) error {
	ctx, end, ok := b.turn.begin(ctx)
	if !ok {
		return nil
	}
	defer end()
	packs, freed, err := s.EmptyTrash(ctx)
	switch {
	case errors.Is(err, chunkstore.ErrPruning) || ctx.Err() != nil: // somebody called one
		return nil
	case err != nil:
		return errors.Join(err, s.KeepReserve())
	case packs > 0:
		b.log.Info("emptied the trash", "packs", packs, "bytes", freed)
	}
	return s.KeepReserve()
}

// work prunes for a step, and reports whether the prune has time left and
// something to do.
func (b *backgroundPrune) work(ctx context.Context, s *chunkstore.Store, p catalog.Pruning, r pruneRound) (again bool, err error) {
	if r.Began.IsZero() || r.Ended {
		r = pruneRound{Began: b.now().UTC().Truncate(time.Second), LastEnd: r.LastEnd, LastFreed: r.LastFreed}
		if p.Forget {
			if r.Forgotten, err = b.forget(ctx); err != nil {
				return false, err
			}
		}
		if err := r.save(s); err != nil {
			return false, err
		}
	}
	b.tell(r, p, "")
	step := pruneStep
	if p.For > 0 {
		step = max(min(step, p.For-r.Used), time.Second)
	}
	report, err := pruneStore(ctx, s, chunkstore.PruneOptions{MaxUnused: defaultMaxUnused, Grace: p.Grace, MaxDuration: step})
	if report != nil {
		r.Used, r.Freed, r.Complete = r.Used+report.Duration, r.Freed+report.FreedBytes, report.Complete
	}
	if err == nil && (r.Complete || p.For > 0 && r.Used >= p.For) {
		r.Ended, r.LastEnd, r.LastFreed = true, b.now().UTC().Truncate(time.Second), r.Freed
	}
	if err == nil && report.DiskFull {
		err = noRoomFor(report) // it is tried again, ever more rarely
	}
	b.tell(r, p, "")
	return !r.Ended, errors.Join(err, r.save(s))
}

// forget carries the VMs' policies out. One that can't be is told of and hinders
// nothing else.
func (b *backgroundPrune) forget(ctx context.Context) (n int, err error) {
	vms, err := catalog.VMs(ctx, b.h)
	if err != nil {
		return 0, err
	}
	for _, vm := range vms {
		forgotten, err := b.forgetVM(ctx, vm)
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		if err != nil {
			b.log.Error("the policy of a VM can't be carried out; nothing of it is forgotten", "vm", vm, "err", err)
		} else if forgotten > 0 {
			b.log.Info("forgot versions by policy", "vm", vm, "versions", forgotten)
		}
		n += forgotten
	}
	return n, nil
}

func (b *backgroundPrune) forgetVM(ctx context.Context, vm string) (n int, err error) {
	policy, _, ok, err := catalog.PolicyOf(ctx, b.h, vm)
	if err != nil || !ok {
		return 0, err
	}
	states, err := validations(ctx, b.h, vm)
	if err != nil {
		return 0, err // without them the last good version would not be known
	}
	verdicts, err := catalog.Retain(ctx, b.h, vm, catalog.RetainOptions{Policy: policy, Now: b.now(), States: states})
	if err != nil {
		return 0, err
	}
	for _, v := range verdicts {
		if len(v.Keep) == 0 {
			n++
		}
	}
	return n, nil
}

// pruneJobText says in one line how the prunes in the background go.
func pruneJobText(j background.Status) string {
	text := string(j.State)
	switch {
	case j.State == background.Failed:
		text = "failed: " + oneLine(j.Error)
	case j.State == background.Stopped:
		text = "no process runs it"
	case j.Began != nil:
		text = "at work since " + timeText(*j.Began)
	}
	if j.LastFull != nil {
		text += ", last " + timeText(*j.LastFull)
		if j.FreedBytes != nil {
			text += ", freed " + sizeText(*j.FreedBytes)
		}
	} else {
		text += ", none yet"
	}
	if j.Due != nil {
		text += ", next " + timeText(*j.Due)
	}
	if j.Note != "" {
		text += "; " + oneLine(j.Note)
	}
	return text
}
