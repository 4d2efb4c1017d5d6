package catalog

import (
	"context"
	"fmt"

	"holdfast/chunkstore"
)

// marks is what holds of a VM's versions: its acts, one after the other.
type marks struct {
	said map[string][]entry // by version id; more than one where ids were used again
	last uint64             // the highest sequence number
	bad  error              // why the first act that can't be read can't
}

// loadMarks reads a VM's acts. One that can't be read is passed over and said in
// bad: what looks only may go on, what decides must not. The marks may be shared:
// nobody changes them.
func loadMarks(ctx context.Context, r chunkstore.Roots, vm string) (*marks, error) {
	v, err := memoOf(r).Do(seqPrefix(actPrefix, vm), func() (any, int64, error) {
		m, err := readMarks(ctx, r, vm)
		if err != nil {
			return nil, 0, err
		}
		return m, int64(len(m.said)) * markBytes, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*marks), nil
}

// memoOf returns what keeps things made of roots, if they have it.
func memoOf(r chunkstore.Roots) *chunkstore.Memo {
	if s, ok := r.(interface{ Memo() *chunkstore.Memo }); ok {
		return s.Memo()
	}
	return nil
}

// markBytes is what the marks of one version take in memory, about.
const markBytes = 200

func readMarks(ctx context.Context, r chunkstore.Roots, vm string) (*marks, error) {
	m := new(marks)
	prefix := seqPrefix(actPrefix, vm)
	err := r.Roots(ctx, prefix, "", func(name string, body []byte) bool {
		m.add(name, name[len(prefix):], body)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the acts of VM %q: %w", vm, err)
	}
	return m, nil
}

// add takes one more act in, later than those before.
func (m *marks) add(name, seq string, body []byte) []entry {
	n, err := parseSeq(seq)
	if err == nil {
		m.last = max(m.last, n)
	}
	entries, derr := decodeAct(body)
	if err == nil {
		err = derr
	}
	if err != nil {
		if m.bad == nil {
			m.bad = fmt.Errorf("act %q: %w", name, err)
		}
		return nil
	}
	for _, e := range entries {
		m.set(e)
	}
	return entries
}

func (m *marks) set(e entry) {
	if m.said == nil {
		m.said = map[string][]entry{}
	}
	for i, old := range m.said[e.id] {
		if old.of == e.of {
			m.said[e.id][i] = e
			return
		}
	}
	m.said[e.id] = append(m.said[e.id], e)
}

// of returns what holds of the version that has this id and root body.
func (m *marks) of(id string, body []byte) Mark {
	said := m.said[id]
	if len(said) == 0 {
		return 0
	}
	of := identityOf(body)
	for _, e := range said {
		if e.of == of {
			return e.mark
		}
	}
	return 0
}

// hides reports whether a version is not to be shown.
func (m *marks) hides(id string, body []byte) bool { return m.of(id, body).Has(Forgotten) }

// MarkOf returns what roots say of the version that a manifest is of, whether
// they have it or not: a replica may have forgotten a version that it is offered.
func MarkOf(ctx context.Context, roots chunkstore.Roots, vm, id string, body []byte) (Mark, error) {
	m, err := loadMarks(ctx, roots, vm)
	if err != nil {
		return 0, err
	}
	return m.of(id, body), nil
}
