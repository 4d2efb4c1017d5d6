package heal

import (
	"context"
	"time"

	"holdfast/chunkstore"
	"holdfast/heal/background"
)

// goOn goes on with the cycle, or begins the next one when it is time.
func (r *round) goOn(ctx context.Context) (more bool, err error) {
	c, err := loadCycle(r.store)
	if err != nil {
		return false, err
	}
	if c.Ended && r.now().Sub(c.Began) < scrubPeriod && !c.Began.After(r.now()) {
		next := c.Began.Add(scrubPeriod)
		r.tell(func(st *background.Status) {
			st.Done, st.Total, st.Note = 0, 0, "the next cycle begins "+next.Format(time.DateOnly)
		})
		return false, r.save(r.store, c)
	}
	if c.Ended || c.Began.IsZero() || c.Began.After(r.now()) {
		c.Began, c.Ended = r.now().UTC().Truncate(time.Second), false
		if c.Quarantined, err = r.store.Quarantined(); err != nil {
			return false, err
		}
	}
	if err := r.save(r.store, c); err != nil {
		return false, err
	}
	if r.places == nil {
		if r.places, err = r.store.CountPlaces(ctx); err != nil {
			return false, err
		}
	}
	left, err := r.left(ctx, c)
	if err != nil {
		return false, err
	}
	s := r.scrubbing(false)
	more, err = r.provePacks(ctx, s, left, func(p chunkstore.KnownPack) {
		r.tell(func(st *background.Status) { st.Done += p.Size })
	})
	if err != nil || more {
		return more, err
	}
	return false, r.endCycle(ctx, c)
}

// left lists the packs that were not proved in this cycle, and sets the pace.
func (r *round) left(ctx context.Context, c cycle) (list []chunkstore.KnownPack, err error) {
	var done, total int64
	err = r.store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		total += p.Size
		if p.Proof.Result != chunkstore.PackUnreadable && !p.Proof.Doubted && !p.Proof.When.Before(c.Began) || r.waits(p.Number) {
			done += p.Size
		} else {
			list = append(list, p)
		}
		return ctx.Err()
	})
	time := max(c.Began.Add(scrubPeriod*9/10).Sub(r.now()), newWithin)
	pace := max(leastPace, (total-done)/int64(time.Seconds()))
	r.turn.Pace(pace)
	r.turn.Hurry(r.now().Sub(c.Began) > scrubPeriod*3/4)
	r.tell(func(st *background.Status) {
		st.Done, st.Total, st.Note = done, total, ""
		if r.rate > 0 && pace > r.rate {
			st.Note = "--scrub-rate is too low to prove the whole store within 30 days"
		}
	})
	return list, err
}

// endCycle looks at what no single pack tells: packs that the index does not
// know, entries without a pack, maps that name chunks which are nowhere.
func (r *round) endCycle(ctx context.Context, c cycle) error {
	s := r.scrubbing(false)
	unknown, err := r.store.UnknownPacks(ctx)
	if err != nil {
		return err
	}
	for _, n := range unknown {
		if err := s.prove(ctx, target{number: n, unknown: true, expect: chunkstore.NoPlaces}); err != nil {
			return err
		}
	}
	if r.places, err = r.store.CountPlaces(ctx); err != nil {
		return err
	}
	known := map[uint64]chunkstore.Places{}
	if err := r.store.KnownPacks(ctx, func(p chunkstore.KnownPack) error { known[p.Number] = r.places[p.Number]; return ctx.Err() }); err != nil {
		return err
	}
	for n := range r.places {
		if _, is := known[n]; !is {
			s.gone[n] = true
		}
	}
	compare := func(ctx context.Context) error { return s.comparePlaces(ctx, known) }
	for _, do := range []func(context.Context) error{s.noteGone, compare, s.resolve, s.rescue, s.donate, s.lookAgain, s.sumUp} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	if err := c.leaveQuarantine(ctx, r.store, s.report); err != nil {
		return err
	}
	c.Ended, c.LastFull = true, r.now().UTC().Truncate(time.Second)
	return r.save(r.store, c)
}
