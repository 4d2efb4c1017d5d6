package heal

import (
	"context"
	"errors"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/heal/background"
)

// round is one step of the job.
type round struct {
	*BackgroundScrub
	store *chunkstore.Store
	turn  *background.Turn
	until time.Time
}

// scrubbing returns a scrub that waits its turn and mends what it can.
func (r *round) scrubbing(deep bool) *scrub {
	s := &scrub{store: r.store, began: r.now(), gone: map[uint64]bool{}, pace: newPace(0), turn: r.turn, report: new(Report)}
	s.opts = Options{Deep: deep, Repair: true, Log: r.log}
	s.opts.fill()
	return s
}

// run does what is due until the step is over, and reports whether nothing is
// left to do.
func (r *round) run(ctx context.Context) (done bool, err error) {
	for _, do := range []func(context.Context) (bool, error){r.newPacks, r.mark, r.queue, r.goOn} {
		if more, err := do(ctx); err != nil || more {
			return false, err
		}
	}
	return true, nil
}

// over reports whether the step has worked long enough.
func (r *round) over(ctx context.Context) bool { return ctx.Err() != nil || !r.now().Before(r.until) }

// waits reports whether a pack could not be read, or not be mended, and is not yet to be
// tried again.
func (r *round) waits(n uint64) bool { return r.retry[n].next.After(r.now()) }

// due reports whether a pack is not to wait for the cycle: it was never proved or is doubted,
// or was found healable, and whoever found it did not mend it, or died before that.
func due(p chunkstore.PackProof) bool { return p.Due() || p.Result == chunkstore.PackHealable }

// maxRetries bounds the packs that are remembered to be tried later; beyond
// it they are tried again too soon, which harms nothing but the storage.
const maxRetries = 100000

// settle remembers how the proof of a pack ended.
func (r *round) settle(n uint64) error {
	p, err := r.store.Proof(n)
	if err != nil || !due(p) { // not proved is one that is gone
		delete(r.retry, n)
		return err
	}
	if t := r.retry[n]; len(r.retry) < maxRetries {
		r.retry[n] = t.later(r.now())
	}
	return nil
}

// later returns when what has failed once more is tried again.
func (t retry) later(now time.Time) retry {
	return retry{t.tries + 1, now.Add(min(firstRetry<<min(t.tries, 16), lastRetry))}
}

// provePacks proves packs until the step is over.
func (r *round) provePacks(ctx context.Context, s *scrub, list []chunkstore.KnownPack, proved func(chunkstore.KnownPack)) (more bool, err error) {
	for _, p := range list {
		if r.over(ctx) {
			return true, ctx.Err()
		}
		if err := s.prove(ctx, target{number: p.Number, size: p.Size, expect: r.places[p.Number]}); err != nil {
			return false, err
		}
		if err := r.settle(p.Number); err != nil {
			return false, err
		}
		proved(p)
	}
	return false, r.finish(ctx, s)
}

// finish ends what proving has begun: chunks of packs that are gone, packs that
// were replaced.
func (r *round) finish(ctx context.Context, s *scrub) error {
	if err := s.noteGone(ctx); err != nil {
		return err
	}
	for _, f := range s.report.Findings {
		r.log.Error("the scrub in the background found something", "kind", string(f.Kind), "pack", f.Pack, "what", f.Text, "healable", f.Healable)
	}
	if len(s.report.Repairs) == 0 && s.report.Lost == 0 {
		return r.endRepairs(ctx, s)
	}
	for _, do := range []func(context.Context) error{s.rescue, s.donate, s.lookAgain, s.quarantine} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	if len(s.report.RepairErrors) > 0 {
		return errors.New(s.report.RepairErrors[0])
	}
	return nil
}

// endRepairs moves packs out of the way that were replaced by a repair that was stopped
// before it did so. Each try is a pass over the index: where they can't be moved it is not
// made in each step, and what else is due goes on.
func (r *round) endRepairs(ctx context.Context, s *scrub) error {
	if r.unmoved.next.After(r.now()) {
		return nil
	}
	before := len(s.report.RepairErrors)
	if err := s.quarantine(ctx); err != nil {
		return err
	}
	failed := s.report.RepairErrors[before:]
	if len(failed) == 0 {
		r.unmoved = retry{}
		return nil
	}
	r.unmoved = r.unmoved.later(r.now())
	r.log.Error("a pack that was repaired could not be moved to quarantine; it is tried again", "at", r.unmoved.next, "err", failed[0])
	return nil
}

// mostNew is how many new packs are proved between two looks at what else is due.
const mostNew = 1000

// newPacks proves the packs that were never proved, or of which a read has
// found since that something is wrong, those that are healable, and those that could not be
// read or mended and are to be tried again.
func (r *round) newPacks(ctx context.Context) (more bool, err error) {
	var fresh []chunkstore.KnownPack
	var bytes int64
	err = r.store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		if !due(p.Proof) || r.waits(p.Number) || len(fresh) == mostNew {
			return ctx.Err()
		}
		// One that was mended stays healable until it is moved to quarantine.
		used, err := r.store.InUse(p.Number)
		if used {
			fresh, bytes = append(fresh, p), bytes+p.Size
		}
		return errors.Join(err, ctx.Err())
	})
	if err != nil || len(fresh) == 0 {
		r.since = time.Time{}
		r.tell(func(st *background.Status) { st.Queue = 0 })
		return false, err
	}
	if r.since.IsZero() {
		r.since = r.now()
	}
	r.tell(func(st *background.Status) { st.Queue = len(fresh) })
	r.turn.Pace(max(leastPace, bytes/int64((newWithin/2).Seconds())))
	r.turn.Hurry(r.now().Sub(r.since) > newWithin/2)
	return r.provePacks(ctx, r.scrubbing(true), fresh, func(chunkstore.KnownPack) {
		r.tell(func(st *background.Status) { st.Queue-- })
	})
}

// mark marks the versions that are hurt, where what is known of damage has
// changed since they were marked.
func (r *round) mark(ctx context.Context) (bool, error) {
	found, now := r.store.DamageChanges()
	if found == r.marked.found && now == r.marked.now {
		return false, nil
	}
	s := r.scrubbing(false)
	hurt, err := hurtOf(ctx, r.store, nil, s.gently)
	if err != nil {
		return false, err
	}
	if err := markHurt(r.store, hurt, s.began); err != nil {
		return false, err
	}
	// Those that are hurt no more are to be proved again.
	err = r.store.Unproved(ctx, func(name string, st chunkstore.RootState) error {
		vm, id, err := catalog.ParseRootName(name)
		if _, still := hurt.versions[[2]string{vm, id}]; err != nil || still || st.State != chunkstore.Hurt {
			return ctx.Err()
		}
		return r.store.SetRootState(name, chunkstore.RootState{State: chunkstore.Pending, When: s.began})
	})
	if err == nil {
		r.marked.found, r.marked.now = found, now
	}
	return false, err
}

// queue validates the versions that are pending, or that could not be read and
// are to be tried again.
func (r *round) queue(ctx context.Context) (more bool, err error) {
	c := newValidation(r.scrubbing(true))
	c.now, c.over = r.now, r.over
	r.turn.Pace(0)
	err = r.store.Unproved(ctx, func(name string, st chunkstore.RootState) error {
		vm, id, err := catalog.ParseRootName(name)
		if err != nil || st.State == chunkstore.Hurt {
			return ctx.Err()
		}
		if more = r.over(ctx); more {
			return errStepOver
		}
		v, err := catalog.Get(ctx, r.store, vm, id)
		if err != nil {
			return ctx.Err() // told by list, and by each scrub
		}
		if due, err := c.due(v, st); err != nil || !due {
			return err
		}
		return c.version(ctx, v)
	})
	if errors.Is(err, errStepOver) {
		err = nil
	}
	if err == nil {
		err = r.finish(ctx, c.scrub)
	}
	return more, err
}

var errStepOver = errors.New("the step is over")

// due reports whether any disk of a version is to be tried. One that waits because it
// changed under its validation keeps the version waiting: its other disks, which are
// valid, would be followed again and again meanwhile.
func (c *validation) due(v *catalog.Version, st chunkstore.RootState) (bool, error) {
	due := st.State == chunkstore.Pending
	for i := range v.Disks {
		d, err := c.store.DiskState(catalog.RootName(v.VM, v.ID), i)
		switch {
		case err != nil:
			return false, err
		case d.State == chunkstore.Pending && d.Next.After(c.now()):
			return false, nil
		case d.State != chunkstore.Valid && !d.Next.After(c.now()):
			due = true
		}
	}
	return due, nil
}
