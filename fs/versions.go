package fs

import (
	"context"
	"fmt"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// idSeconds is the part of a version id that is its time to the second; up to
// three more bytes tell versions of the same second apart.
const idSeconds = "2006-01-02T15-04-05Z"

// slice narrows the roots that the catalog sees: those from an id on, and no
// more than most of them. Prefixes are the catalog's, one a VM, so that an id
// behind a prefix is a root's name.
type slice struct {
	all  chunkstore.Roots
	from string
	most int
}

// Root implements chunkstore.Roots.
func (s slice) Root(ctx context.Context, name string) ([]byte, error) { return s.all.Root(ctx, name) }

// Roots implements chunkstore.Roots.
func (s slice) Roots(ctx context.Context, prefix, from string, fn func(string, []byte) bool) error {
	left := s.most
	return s.all.Roots(ctx, prefix, max(from, prefix+s.from), func(name string, body []byte) bool {
		left--
		return fn(name, body) && left > 0
	})
}

// firstFrom returns the id of a VM's first version at or behind the id or part
// of an id from, or "" when there is none.
func firstFrom(ctx context.Context, r chunkstore.Roots, vm, from string) (string, error) {
	ids, err := catalog.IDs(ctx, slice{r, from, 1}, vm)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	return ids[0], nil
}

// newest returns the id of a VM's newest version. known is one that was the
// newest before, or "". It costs a few look-ups when known still is, and some
// forty however many versions there are, because ids sort by time: ever longer
// steps find a time behind the last version, ever shorter ones the version.
func newest(ctx context.Context, r chunkstore.Roots, vm, known string) (string, error) {
	id, err := firstFrom(ctx, r, vm, known)
	if err == nil && id == "" && known != "" { // it was deleted
		id, err = firstFrom(ctx, r, vm, "")
	}
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", fmt.Errorf("VM %q: %w", vm, catalog.ErrNoVM)
	}
	for step, growing := time.Second, true; step >= time.Second; {
		later, err := firstFrom(ctx, r, vm, after(id, step))
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
	same, err := catalog.IDs(ctx, slice{r, id, 100}, vm)
	if err != nil || len(same) == 0 {
		return id, err
	}
	return same[len(same)-1], nil
}

// after returns an id step later than id, or one behind every id where the
// calendar of ids ends.
func after(id string, step time.Duration) string {
	t, err := time.Parse(idSeconds, id[:min(len(id), len(idSeconds))])
	if err != nil {
		return "\xff"
	}
	if t = t.Add(step); t.Year() > 9999 {
		return "\xff"
	}
	return t.Format(idSeconds)
}

// timeOf returns the time that an id names.
func timeOf(id string) time.Time {
	t, err := time.Parse(idSeconds, id[:min(len(id), len(idSeconds))])
	if err != nil {
		return time.Unix(0, 0)
	}
	return t
}
