package chunkstore

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestMemoKeepsUntilRootsChange: a value is made once, anew when a root with its
// prefix appears or is dropped, and not for others.
func TestMemoKeepsUntilRootsChange(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	made := 0
	get := func() int {
		t.Helper()
		v, err := s.Memo().Do("a/", func() (any, int64, error) {
			made++
			n := 0
			err := s.Roots(t.Context(), "a/", "", func(string, []byte) bool { n++; return true })
			return n, 8, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return v.(int)
	}
	want := func(roots, times int) {
		t.Helper()
		if n := get(); n != roots || made != times {
			t.Errorf("%d roots, made %d times, want %d and %d", n, made, roots, times)
		}
	}
	want(0, 1)
	want(0, 1)
	ses := begin(t, s)
	commit := func(name string) {
		t.Helper()
		if err := ses.Commit(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	commit("b/1")
	want(0, 1)
	commit("a/1")
	want(1, 2)
	want(1, 2)
	doomed := func(context.Context, Roots) ([]string, error) { return []string{"a/1"}, nil }
	if err := ses.Close(); err != nil { // the prune waits for it
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), PruneOptions{Doomed: doomed}); err != nil {
		t.Fatal(err)
	}
	want(0, 3)
}

// TestMemoBesideAChange: while roots go together nothing comes from the memo, of
// whatever roots it was made, and what is made meanwhile is not kept.
func TestMemoBesideAChange(t *testing.T) {
	m, made := new(Memo), 0
	get := func(prefix string, want int) {
		t.Helper()
		v, err := m.Do(prefix, func() (any, int64, error) { made++; return made, 8, nil })
		if err != nil || v.(int) != want {
			t.Errorf("%q: %v, %v, want %d", prefix, v, err, want)
		}
	}
	get("a/", 1)
	get("b/", 2)
	done := m.changing("a/1")
	get("a/", 3)
	get("a/", 4)
	get("b/", 5)
	done()
	get("a/", 6)
	get("a/", 6)
	get("b/", 2)
}

// TestMemoIsBoundAndHonest: errors and what is too large are not kept, nor what was
// made while roots changed; all of it together has a bound.
func TestMemoIsBoundAndHonest(t *testing.T) {
	var m Memo
	made := 0
	do := func(prefix string, bytes int64, err error, meanwhile func()) {
		m.Do(prefix, func() (any, int64, error) { made++; meanwhile(); return nil, bytes, err }) //nolint:errcheck // the test's own
	}
	nothing := func() {}
	for _, c := range []struct {
		name      string
		bytes     int64
		err       error
		meanwhile func()
		kept      bool
	}{
		{"good", 1, nil, nothing, true},
		{"error", 1, errors.New("x"), nothing, false},
		{"too large", maxMemo, nil, nothing, false},
		{"changed meanwhile", 1, nil, func() { m.changed("another") }, false},
	} {
		made = 0
		do(c.name, c.bytes, c.err, c.meanwhile)
		do(c.name, c.bytes, c.err, c.meanwhile)
		if kept := made == 1; kept != c.kept {
			t.Errorf("%s: kept %v, want %v", c.name, kept, c.kept)
		}
	}
	for i := range 100 {
		do(string(rune('A'+i)), maxMemo/10, nil, nothing)
		var sum int64
		for _, k := range m.kept {
			sum += k.bytes
		}
		if sum != m.bytes || sum > maxMemo {
			t.Fatalf("%d bytes are kept, %d counted, at most %d may be", sum, m.bytes, int64(maxMemo))
		}
	}
	made = 0
	var none *Memo
	none.Do("x", func() (any, int64, error) { made++; return nil, 0, nil }) //nolint:errcheck // the test's own
	none.Do("x", func() (any, int64, error) { made++; return nil, 0, nil }) //nolint:errcheck // the test's own
	if made != 2 {
		t.Error("a memo that is none keeps")
	}
}
