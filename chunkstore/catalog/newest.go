package catalog

import (
	"context"
	"fmt"
	"time"

	"holdfast/chunkstore"
)

// Newest returns the id of a VM's newest version. known is one that was the
// newest before, or "". It costs a few look-ups when known still is, and some
// forty however many versions there are, because ids sort by time: ever longer
// steps find a time behind the last version, ever shorter ones the version.
func Newest(ctx context.Context, r chunkstore.Roots, vm, known string) (string, error) {
	m, err := loadMarks(ctx, r, vm)
	if err != nil {
		return "", err
	}
	firstFrom := func(from string) (string, error) {
		ids, err := idsFrom(ctx, r, m, vm, from, 1)
		if err != nil || len(ids) == 0 {
			return "", err
		}
		return ids[0], nil
	}
	id, err := firstFrom(known)
	if err == nil && id == "" && known != "" { // it was forgotten
		id, err = firstFrom("")
	}
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", noVersions(ctx, r, vm)
	}
	for step, growing := time.Second, true; step >= time.Second; {
		later, err := firstFrom(idAfter(id, step))
		if err != nil {
			return "", err
		}
		if later == "" {
			growing = false
		} else {
			id = later
		}
		if growing && step < 1<<32*time.Second {
			step *= 2
		} else if later == "" {
			step /= 2
		}
	}
	same, err := idsFrom(ctx, r, m, vm, id, maxPerSecond)
	if err != nil || len(same) == 0 {
		return id, err
	}
	return same[len(same)-1], nil
}

// noVersions is the error for a VM of which nothing is to be seen.
func noVersions(ctx context.Context, r chunkstore.Roots, vm string) error {
	all, err := idsFrom(ctx, r, new(marks), vm, "", 1)
	switch {
	case err != nil:
		return err
	case len(all) > 0:
		return fmt.Errorf("VM %q: %w", vm, errAllForgotten)
	}
	return fmt.Errorf("VM %q: %w", vm, ErrNoVM)
}

// idAfter returns an id step later than id, or one behind every id where the
// calendar of ids ends.
func idAfter(id string, step time.Duration) string {
	if len(id) < len(idLayout) {
		return "\xff"
	}
	t, err := time.Parse(idLayout, id[:len(idLayout)])
	if err != nil {
		return "\xff"
	}
	if t = t.Add(step); t.Year() > 9999 {
		return "\xff"
	}
	return t.Format(idLayout)
}
