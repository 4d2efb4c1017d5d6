package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// The validate queue has one item for each disk of each version that is not
// proved yet. It is no list of its own: a version without a state is in it, so
// nothing that is captured can miss it, and an index that was made anew has all
// versions in it again.

const (
	firstRetry = 15 * time.Minute // of an item whose storage could not be read
	lastRetry  = 24 * time.Hour
)

// validation proves disks of versions: their maps walk completely, and each
// chunk's pack was proved since the version was captured, and has the chunk where the
// index leads to it.
type validation struct {
	*scrub
	maps *disk.Maps
	now  func() time.Time
	over func(context.Context) bool // others' turn has come
}

func newValidation(s *scrub) *validation {
	return &validation{scrub: s, maps: s.gentleMaps(), now: time.Now, over: func(context.Context) bool { return false }}
}

// version validates the disks of a version that are due, and remembers what
// each is, and the version.
func (c *validation) version(ctx context.Context, v *catalog.Version) error {
	name := catalog.RootName(v.VM, v.ID)
	worst := chunkstore.RootState{State: chunkstore.Valid, When: c.now()}
	for i := range v.Disks {
		was, err := c.store.DiskState(name, i)
		if err != nil {
			return err
		}
		st := was
		if !was.Next.After(c.now()) {
			var lasting bool
			if st, lasting, err = c.disk(ctx, v, i, was); err != nil {
				return err
			}
			worst.Lasting = worst.Lasting || lasting
			if err := c.store.SetDiskState(name, i, st); err != nil {
				return err
			}
		}
		worst.State = worse(worst.State, st.State)
	}
	return c.store.SetRootState(name, worst)
}

// worse returns the state that says more of a version.
func worse(a, b chunkstore.Validation) chunkstore.Validation {
	order := []chunkstore.Validation{chunkstore.Hurt, chunkstore.Incomplete, chunkstore.Pending, chunkstore.Valid}
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}

// disk validates one disk. lasting says that its maps do not fit each other. A disk of
// which something changed meanwhile is looked at again at once, but for a few times, or
// until the step is over: then it is pending, and others come first.
func (c *validation) disk(ctx context.Context, v *catalog.Version, i int, was chunkstore.DiskState) (_ chunkstore.DiskState, lasting bool, err error) {
	st := chunkstore.DiskState{When: c.now()}
	for n := 1; ; n++ {
		seen, again, err := c.look(ctx, v, v.Disks[i].Map)
		if err != nil {
			return st, seen.lasting, err
		}
		if st.State, st.Problem, lasting = seen.state, seen.problem, seen.lasting; !again {
			break
		}
		if n == verifyRounds || c.over(ctx) {
			st.State, st.Problem, st.Next = chunkstore.Pending, "it changed while it was looked at", c.now().Add(firstRetry)
			return st, false, nil
		}
	}
	if st.State != chunkstore.Incomplete {
		return st, lasting, nil
	}
	st.Tries = was.Tries + 1
	st.Next = c.now().Add(min(firstRetry<<min(was.Tries, 16), lastRetry))
	return st, lasting, nil
}

// followed is what a disk is by what is known of its chunks.
type followed struct {
	state   chunkstore.Validation
	problem string
	blamed  pack.ID // the chunk for which the disk is not valid, if there is one
	lasting bool    // its maps do not fit each other
	unsure  bool    // the index lacks a chunk that a capture is writing
}

// look follows a disk and proves the packs that its chunks lie in. It reports whether
// anything of the disk has changed meanwhile.
func (c *validation) look(ctx context.Context, v *catalog.Version, m disk.Map) (seen followed, again bool, err error) {
	found, _ := c.store.DamageChanges()
	leads := c.newLeads(ctx)
	if seen, err = c.follow(ctx, m, leads); err != nil {
		return seen, false, err
	}
	if err := c.prove(ctx, v, leads.Packs()); err != nil {
		return seen, false, err
	}
	if err := leads.Check(ctx); err != nil {
		return seen, false, err
	}
	switch {
	case seen.lasting:
		return seen, false, nil
	case leads.Moved || seen.unsure || c.store.FoundIn(leads.Packs(), found):
		return seen, true, nil
	case seen.state == chunkstore.Valid:
		return seen, leads.Hurt, nil
	}
	_, still, err := c.store.DamageOf(seen.blamed)
	return seen, !still, err
}

// follow walks all maps of a disk, takes in where the index has all its chunks,
// and says what the disk is by what is known of them.
func (c *validation) follow(ctx context.Context, m disk.Map, leads *chunkstore.Leads) (followed, error) {
	seen := followed{state: chunkstore.Valid}
	take := func(of chunkstore.DamagedChunk, p disk.Part) {
		kind := chunkstore.Hurt
		if of.Kind == pack.Unreadable {
			kind = chunkstore.Incomplete
		}
		if worse(kind, seen.state) != seen.state {
			seen.state, seen.blamed, seen.problem = kind, p.ID, fmt.Sprintf("%s at %d: chunk %v is %v", p.Kind, p.Off, p.ID, of.Kind)
		}
	}
	w := &walk{store: c.store, maps: c.maps, fresh: map[pack.ID]bool{}}
	var data int64
	var failed error
	r, err := disk.Open(nil, w.maps, m)
	if err == nil {
		err = r.Parts(ctx, func(p disk.Part) (bool, error) {
			if p.Kind == pack.KindData {
				data += p.Len
			} else if c.turn != nil {
				if failed = c.turn.Take(ctx, pack.MaxChunk); failed != nil {
					return false, failed
				}
			}
			of, hurt, err := w.hurt(p.ID)
			if err != nil {
				failed = err
				return false, err
			}
			if hurt {
				take(of, p)
			}
			var has bool
			has, failed = leads.Add(ctx, p.ID)
			seen.unsure = seen.unsure || !has && !hurt
			return has && !hurt, failed
		})
	}
	var d *pack.Damage
	switch {
	case ctx.Err() != nil:
		return seen, ctx.Err()
	case failed != nil:
		return seen, failed
	case seen.unsure:
		return seen, nil
	case errors.As(err, &d):
		take(chunkstore.DamagedChunk{Kind: d.Kind}, disk.Part{Kind: pack.KindDiskMap, ID: d.ID})
	case err != nil:
		return followed{state: chunkstore.Hurt, problem: err.Error(), lasting: true}, nil
	case seen.state == chunkstore.Valid && data != m.DataBytes:
		return followed{state: chunkstore.Hurt, problem: fmt.Sprintf("the maps store %d bytes, and %d are said to be there", data, m.DataBytes), lasting: true}, nil
	}
	return seen, nil
}

// prove proves those of the packs that were not proved since the capture.
func (c *validation) prove(ctx context.Context, v *catalog.Version, packs map[uint64]bool) error {
	var todo []uint64
	for n := range packs {
		p, err := c.store.Proof(n)
		if err != nil {
			return err
		}
		if p.Due() || !p.When.After(v.Captured) {
			todo = append(todo, n)
		}
	}
	slices.Sort(todo) // as they lie
	for _, n := range todo {
		if err := c.scrub.prove(ctx, target{number: n}); err != nil {
			return err
		}
	}
	return c.noteGone(ctx)
}
