package catalog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"holdfast/chunkstore"
)

// Keeper is what acts need of a store.
type Keeper interface {
	chunkstore.Getter
	chunkstore.Roots
	Begin(ctx context.Context, what string) (chunkstore.Session, error)
}

// ErrPinned says that a version can't be forgotten because it is pinned.
var ErrPinned = errors.New("the version is pinned")

var errNoSeq = errors.New("all sequence numbers are used")

const (
	actTries = 64
	actPause = 20 * time.Millisecond // for another's commit to be seen
)

// untilCommitted calls do, which commits one root under the next sequence
// number, again for as long as another took that number first.
func untilCommitted(ctx context.Context, s Keeper, what string, do func(chunkstore.Session) error) error {
	ses, err := s.Begin(ctx, what)
	if err != nil {
		return err
	}
	defer ses.Close()
	for range actTries {
		if err = do(ses); !errors.Is(err, chunkstore.ErrRootExists) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(actPause):
		}
	}
	return fmt.Errorf("others were faster %d times; try again: %w", actTries, err)
}

// decide commits what fn decides of a VM's versions by what holds at this moment.
// fn is called again where another act came between.
func decide(ctx context.Context, s Keeper, what, vm string, fn func(chunkstore.Session, *marks) ([]entry, error)) error {
	return untilCommitted(ctx, s, fmt.Sprintf("%s of VM %q", what, vm), func(ses chunkstore.Session) error {
		m, err := loadMarks(ctx, s, vm)
		if err == nil {
			err = m.bad
		}
		if err != nil {
			return err
		}
		entries, err := fn(ses, m)
		if err != nil {
			return err
		}
		last := m.last
		for some := range slices.Chunk(entries, maxEntries) {
			body, err := encodeAct(some)
			if err != nil {
				return err
			}
			if last == math.MaxUint64 {
				return errNoSeq
			}
			last++
			if err := ses.Commit(ctx, appendSeq(seqPrefix(actPrefix, vm), last), body); err != nil {
				return err
			}
		}
		return nil
	})
}

// lookUp returns what holds of one version; it must exist.
func lookUp(ctx context.Context, r chunkstore.Roots, m *marks, vm, id string) (entry, error) {
	body, err := r.Root(ctx, rootName(vm, id))
	if errors.Is(err, chunkstore.ErrNotFound) {
		return entry{}, fmt.Errorf("version %s of VM %q: %w", id, vm, ErrNoVersion)
	}
	if err != nil {
		return entry{}, fmt.Errorf("version %s of VM %q: %w", id, vm, err)
	}
	return entry{id, identityOf(body), m.of(id, body)}, nil
}

// change sets and clears marks of versions, all or none of them, and returns the
// ids of those that were otherwise before.
func change(ctx context.Context, s Keeper, what, vm string, ids []string, check func(entry) error, to func(Mark) Mark) (changed []string, err error) {
	err = decide(ctx, s, what, vm, func(_ chunkstore.Session, m *marks) ([]entry, error) {
		changed = nil
		var entries []entry
		for _, id := range ids {
			e, err := lookUp(ctx, s, m, vm, id)
			if err == nil {
				err = check(e)
			}
			if err != nil {
				return nil, err
			}
			if mark := to(e.mark); mark != e.mark && !slices.Contains(changed, id) {
				e.mark = mark
				entries, changed = append(entries, e), append(changed, id)
			}
		}
		return entries, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return changed, nil
}

// Forget makes versions of a VM vanish; it returns the ids of those that had not
// before. A pinned one is an error that wraps ErrPinned, and then none is
// forgotten.
func Forget(ctx context.Context, s Keeper, vm string, ids ...string) ([]string, error) {
	return change(ctx, s, "forget versions", vm, ids, func(e entry) error {
		if e.mark == Pinned {
			return fmt.Errorf("version %s of VM %q: %w", e.id, vm, ErrPinned)
		}
		return nil
	}, func(Mark) Mark { return Forgotten })
}

// Pin keeps versions from being forgotten; a forgotten one is an error that wraps
// ErrForgotten. It returns the ids of those that were not pinned before.
func Pin(ctx context.Context, s Keeper, vm string, ids ...string) ([]string, error) {
	return change(ctx, s, "pin versions", vm, ids, func(e entry) error {
		if e.mark.Has(Forgotten) {
			return fmt.Errorf("version %s of VM %q: %w", e.id, vm, ErrForgotten)
		}
		return nil
	}, func(m Mark) Mark { return m | Pinned })
}

// Unpin ends what Pin began. It returns the ids of those that were pinned.
func Unpin(ctx context.Context, s Keeper, vm string, ids ...string) ([]string, error) {
	return change(ctx, s, "unpin versions", vm, ids, func(entry) error { return nil }, func(m Mark) Mark { return m &^ Pinned })
}

// RetainOptions say how a policy is carried out.
type RetainOptions struct {
	Policy Policy
	Now    time.Time
	States map[string]chunkstore.Validation // what is known of versions, by id
	DryRun bool                             // only say what would be done
}

// Retain forgets the versions of a VM that a policy does not keep, and returns its
// word on each, oldest first. What holds at the moment of the commit decides: a
// version that is pinned meanwhile stays.
func Retain(ctx context.Context, s Keeper, vm string, opts RetainOptions) (plan []Verdict, err error) {
	err = decide(ctx, s, "forget versions", vm, func(_ chunkstore.Session, m *marks) ([]entry, error) {
		versions, of, err := candidates(ctx, s, m, vm, opts.States)
		if err != nil {
			return nil, err
		}
		if plan, err = opts.Policy.Plan(versions, opts.Now); err != nil || opts.DryRun {
			return nil, err
		}
		var entries []entry
		for _, v := range plan {
			if len(v.Keep) == 0 {
				entries = append(entries, entry{v.ID, of[v.ID], Forgotten})
			}
		}
		return entries, nil
	})
	if err != nil {
		return nil, fmt.Errorf("forget versions: %w", err)
	}
	return plan, nil
}

// candidates returns a VM's versions that are not forgotten.
func candidates(ctx context.Context, r chunkstore.Roots, m *marks, vm string, states map[string]chunkstore.Validation) ([]Candidate, map[string]identity, error) {
	var list []Candidate
	var bad error
	of := map[string]identity{}
	prefix := vmPrefix(vm)
	err := r.Roots(ctx, prefix, "", func(name string, body []byte) bool {
		id := name[len(prefix):]
		mark := m.of(id, body)
		if mark.Has(Forgotten) {
			return true
		}
		c := Candidate{ID: id, Pinned: mark.Has(Pinned), State: states[id]}
		if v, err := decodeAs(body, vm, id); err == nil {
			c.Time, c.Captured = v.Time, v.Captured
		} else if c.Time, bad = idTime(id); bad == nil {
			c.State = chunkstore.Hurt
		}
		list, of[id] = append(list, c), identityOf(body)
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, nil, fmt.Errorf("list versions of VM %q: %w", vm, err)
	}
	if len(list) == 0 {
		return nil, nil, noVersions(ctx, r, vm)
	}
	return list, of, nil
}
