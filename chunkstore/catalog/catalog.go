package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/chunkstore"
)

// maxPerSecond is how many versions of one VM may bear the same second.
const maxPerSecond = 99

// ErrNoVM and ErrNoVersion say that a name fits nothing in the store.
var (
	ErrNoVM      = errors.New("no such VM")
	ErrNoVersion = errors.New("no such version")
	// ErrForgotten says that a version is there and forgotten; it is an
	// ErrNoVersion, too.
	ErrForgotten = fmt.Errorf("%w: it is forgotten", ErrNoVersion)

	errAllForgotten = fmt.Errorf("%w: all its versions are forgotten", ErrNoVM)
)

// Committer makes a root visible; chunkstore.Session is one.
type Committer interface {
	Commit(ctx context.Context, name string, body []byte) error
}

// Commit gives v its id, by its time, and makes it visible. v.ID is set.
func Commit(ctx context.Context, c Committer, v *Version) error {
	v.Time = v.Time.UTC().Truncate(time.Second)
	if y := v.Time.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("commit version of %q: its time %v has a year outside 1 to 9999", v.VM, v.Time)
	}
	for n := 1; n <= maxPerSecond; n++ {
		v.ID = makeID(v.Time, n)
		if err := v.Validate(); err != nil {
			return fmt.Errorf("commit version of %q: %w", v.VM, err)
		}
		body, err := v.encode()
		if err != nil {
			return err
		}
		err = c.Commit(ctx, rootName(v.VM, v.ID), body)
		if !errors.Is(err, chunkstore.ErrRootExists) {
			return err
		}
	}
	return fmt.Errorf("commit version of %q: there are %d versions of %v already; give another time with --at", v.VM, maxPerSecond, v.Time)
}

// Get returns one version that is not forgotten.
func Get(ctx context.Context, r chunkstore.Roots, vm, id string) (*Version, error) {
	body, err := r.Root(ctx, rootName(vm, id))
	if errors.Is(err, chunkstore.ErrNotFound) {
		return nil, fmt.Errorf("version %s of VM %q: %w", id, vm, ErrNoVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("version %s of VM %q: %w", id, vm, err)
	}
	m, err := loadMarks(ctx, r, vm)
	if err != nil {
		return nil, err
	}
	if m.hides(id, body) {
		return nil, fmt.Errorf("version %s of VM %q: %w", id, vm, ErrForgotten)
	}
	return decodeAs(body, vm, id)
}

// decodeAs decodes a manifest that was found under a name.
func decodeAs(body []byte, vm, id string) (*Version, error) {
	v, err := decode(body)
	if err != nil {
		return nil, fmt.Errorf("version %s of VM %q: %w", id, vm, err)
	}
	if v.VM != vm || v.ID != id {
		return nil, fmt.Errorf("version %s of VM %q: its manifest is of version %s of VM %q", id, vm, v.ID, v.VM)
	}
	return v, nil
}

// VMs returns the names of all VMs that have a version which is not forgotten,
// sorted bytewise. It costs two look-ups a VM, however many versions there are.
func VMs(ctx context.Context, r chunkstore.Roots) ([]string, error) {
	all, err := AllVMs(ctx, r)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, vm := range all {
		m, err := loadMarks(ctx, r, vm)
		if err != nil {
			return nil, err
		}
		if len(m.said) > 0 {
			if ids, err := idsFrom(ctx, r, m, vm, "", 1); err != nil {
				return nil, err
			} else if len(ids) == 0 {
				continue
			}
		}
		names = append(names, vm)
	}
	return names, nil
}

// AllVMs returns the names of all VMs that have a version, forgotten or not. It
// costs one look-up a VM.
func AllVMs(ctx context.Context, r chunkstore.Roots) ([]string, error) {
	var names []string
	from := rootPrefix
	for {
		var found string
		var bad error
		err := r.Roots(ctx, rootPrefix, from, func(name string, _ []byte) bool {
			found, _, bad = parseRootName(name)
			return false
		})
		if err = errors.Join(err, bad); err != nil {
			return nil, fmt.Errorf("list VMs: %w", err)
		}
		if found == "" {
			return names, nil
		}
		names = append(names, found)
		from = strings.TrimSuffix(vmPrefix(found), nameEnd) + "\x00\x02"
	}
}

// IDs returns the ids of a VM's versions, oldest first, without reading their
// manifests. The slice may be shared: nobody changes it. While nothing changes it
// stays the same one, where roots are of this process's store.
func IDs(ctx context.Context, r chunkstore.Roots, vm string) ([]string, error) {
	m, err := loadMarks(ctx, r, vm)
	if err != nil {
		return nil, err
	}
	memo := memoOf(r)
	if memo == nil || len(m.said) > manySaid {
		return idsFrom(ctx, r, m, vm, "", 0)
	}
	v, err := memo.Do(vmPrefix(vm), func() (any, int64, error) {
		all, err := idsFrom(ctx, r, new(marks), vm, "", 0)
		all = slices.Clip(all) // who appends to it gets another one
		return all, int64(len(all)) * (16 + int64(len(idLayout)+4)), err
	})
	if err != nil {
		return nil, err
	}
	return m.shown(ctx, r, vm, v.([]string))
}

// manySaid is of how many versions something must have been said to make one pass
// over all cheaper than a look at each of those.
const manySaid = 256

// shown returns those of the ids that are not forgotten: the same slice if all are.
func (m *marks) shown(ctx context.Context, r chunkstore.Roots, vm string, ids []string) ([]string, error) {
	var hidden map[string]bool
	for id, said := range m.said {
		if !slices.ContainsFunc(said, func(e entry) bool { return e.mark.Has(Forgotten) }) {
			continue
		}
		body, err := r.Root(ctx, rootName(vm, id))
		gone := errors.Is(err, chunkstore.ErrNotFound) // a prune took it since ids was made
		if err != nil && !gone {
			return nil, fmt.Errorf("list versions of VM %q: %w", vm, err)
		}
		if gone || m.hides(id, body) {
			if hidden == nil {
				hidden = map[string]bool{}
			}
			hidden[id] = true
		}
	}
	if hidden == nil {
		return ids, nil
	}
	var shown []string
	for _, id := range ids {
		if !hidden[id] {
			shown = append(shown, id)
		}
	}
	return shown, nil
}

// idsFrom returns the ids that are not before from, oldest first, and most of
// them at most; 0: all.
func idsFrom(ctx context.Context, r chunkstore.Roots, m *marks, vm, from string, most int) ([]string, error) {
	var ids []string
	prefix := vmPrefix(vm)
	err := r.Roots(ctx, prefix, prefix+from, func(name string, body []byte) bool {
		if id := name[len(prefix):]; !m.hides(id, body) {
			ids = append(ids, id)
		}
		return len(ids) != most || most == 0
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of VM %q: %w", vm, err)
	}
	return ids, nil
}

// Versions calls fn with each version of a VM, oldest first. A version whose
// manifest is damaged comes with its error and its name only.
func Versions(ctx context.Context, r chunkstore.Roots, vm string, fn func(*Version, error)) error {
	return Marked(ctx, r, vm, func(v *Version, m Mark, err error) {
		if !m.Has(Forgotten) {
			fn(v, err)
		}
	})
}

// Marked calls fn with each version of a VM and what was said of it, the
// forgotten ones among them, oldest first. fn is as for Versions.
func Marked(ctx context.Context, r chunkstore.Roots, vm string, fn func(*Version, Mark, error)) error {
	m, err := loadMarks(ctx, r, vm)
	if err != nil {
		return err
	}
	prefix := vmPrefix(vm)
	err = r.Roots(ctx, prefix, "", func(name string, body []byte) bool {
		id := name[len(prefix):]
		v, err := decodeAs(body, vm, id)
		if err != nil {
			v = &Version{VM: vm, ID: id}
		}
		fn(v, m.of(id, body), err)
		return true
	})
	if err != nil {
		return fmt.Errorf("list versions of VM %q: %w", vm, err)
	}
	return nil
}

// Marking returns what was said of a version that is there, forgotten or not.
func Marking(ctx context.Context, r chunkstore.Roots, vm, id string) (Mark, error) {
	m, err := loadMarks(ctx, r, vm)
	if err != nil {
		return 0, err
	}
	e, err := lookUp(ctx, r, m, vm, id)
	return e.mark, err
}

// Latest returns a VM's newest version.
func Latest(ctx context.Context, r chunkstore.Roots, vm string) (*Version, error) {
	id, err := Newest(ctx, r, vm, "")
	if err != nil {
		return nil, err
	}
	return Get(ctx, r, vm, id)
}

// newestUpTo returns the newest version at or before t.
func newestUpTo(ctx context.Context, r chunkstore.Roots, vm string, t time.Time) (*Version, error) {
	ids, err := IDs(ctx, r, vm)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, noVersions(ctx, r, vm)
	}
	for i := len(ids) - 1; i >= 0; i-- {
		at, err := idTime(ids[i])
		if err != nil {
			return nil, fmt.Errorf("VM %q: %w", vm, err)
		}
		if !at.After(t) {
			return Get(ctx, r, vm, ids[i])
		}
	}
	return nil, fmt.Errorf("VM %q has no version at or before %v, the oldest is %s: %w", vm, t.Format(time.RFC3339), ids[0], ErrNoVersion)
}

// SplitRef divides VM[@VERSION] without looking for the version. A VM whose own
// name contains @ is found where it has a version, forgotten or not.
func SplitRef(ctx context.Context, r chunkstore.Roots, ref string) (vm, version string, err error) {
	found, err := idsFrom(ctx, r, new(marks), ref, "", 1)
	if i := strings.LastIndexByte(ref, '@'); err == nil && len(found) == 0 && i >= 0 {
		return ref[:i], ref[i+1:], nil
	}
	return ref, "", err
}

// IsID reports whether s has the form of a version's id.
func IsID(s string) bool {
	_, err := idTime(s)
	return err == nil
}

// Resolve finds the version that VM[@VERSION] names: VERSION is an id, latest
// (the default) or a time, which means the newest version at or before it. A
// VM whose own name contains @ is found as well.
func Resolve(ctx context.Context, r chunkstore.Roots, ref string) (*Version, error) {
	v, err := Latest(ctx, r, ref)
	if !errors.Is(err, ErrNoVM) {
		return v, err
	}
	i := strings.LastIndexByte(ref, '@')
	if i < 0 {
		return nil, err
	}
	vm, want := ref[:i], ref[i+1:]
	if want == "" || want == "latest" {
		return Latest(ctx, r, vm)
	}
	if _, err := idTime(want); err == nil {
		v, err := Get(ctx, r, vm, want)
		if !errors.Is(err, ErrNoVersion) || errors.Is(err, ErrForgotten) {
			return v, err
		}
	}
	t, err := parseUpTo(want)
	if err != nil {
		return nil, fmt.Errorf("version %q of VM %q: neither an id nor latest nor a time: %w", want, vm, ErrNoVersion)
	}
	return newestUpTo(ctx, r, vm, t)
}
