package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// TestActsAgainstAModel makes random acts and prunings and compares what is seen
// with plain maps; now and then an index rebuild brings every root back that was
// ever dropped and whose pack was not written anew.
func TestActsAgainstAModel(t *testing.T) {
	for seed := range uint64(30) {
		actsAgainstAModel(t, seed)
	}
}

func actsAgainstAModel(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	s := &fakeStore{roots: map[string]string{}, dropped: map[string]string{}}
	want := map[string]Mark{} // by id
	for step := range 120 {
		id := idAt(r.IntN(6))
		where := fmt.Sprintf("seed %d, step %d, %s", seed, step, id)
		m, there := want[id]
		var err, expect error
		switch r.IntN(7) {
		case 0:
			v := version("web", at(r.IntN(6)), "vda")
			v.UUID = UUID{byte(step), byte(seed)} // never the same body twice
			if err := Commit(ctx, s, v); err != nil {
				t.Fatal(err)
			}
			want[v.ID] = 0
			continue
		case 1, 2:
			if _, err = Forget(ctx, s, "web", id); m.Has(Pinned) && !m.Has(Forgotten) {
				expect = ErrPinned
			} else if there {
				want[id] |= Forgotten
			}
			if m.Has(Pinned) {
				expect = ErrPinned
			}
		case 3:
			if _, err = Pin(ctx, s, "web", id); m.Has(Forgotten) {
				expect = ErrForgotten
			} else if there {
				want[id] |= Pinned
			}
		case 4:
			if _, err = Unpin(ctx, s, "web", id); there {
				want[id] &^= Pinned
			}
		case 5:
			s.prune(t, r)
			for id, m := range want {
				if m.Has(Forgotten) && s.roots[rootName("web", id)] == "" {
					delete(want, id)
				}
			}
			continue
		case 6:
			s.rebuild()
			// What is back is forgotten again; it only counts for its name.
			for name := range s.roots {
				if vm, id, err := parseRootName(name); err == nil && vm == "web" {
					if _, known := want[id]; !known {
						want[id] = Forgotten
					}
				}
			}
			continue
		}
		if !there {
			expect = ErrNoVersion
		}
		if !errors.Is(err, expect) {
			t.Fatalf("%s: %v, want %v", where, err, expect)
		}
		got := map[string]Mark{}
		if err := Marked(ctx, s, "web", func(v *Version, m Mark, _ error) { got[v.ID] = m }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: holds %v, want %v", where, got, want)
		}
	}
}

// fakeStore has roots only; those that were dropped lie in packs until these are
// written anew, keep their names, and are seen by prunings.
type fakeStore struct {
	chunkstore.Getter
	chunkstore.Session
	roots, dropped map[string]string
	before         func() // called before sessions begin, and before commits; nil: nothing
}

func (f *fakeStore) Begin(context.Context, string) (chunkstore.Session, error) {
	f.happens()
	return f, nil
}

func (f *fakeStore) happens() {
	if f.before != nil {
		f.before()
	}
}

func (f *fakeStore) Has(context.Context, []pack.ID, []bool) error { return nil }
func (f *fakeStore) Close() error                                 { return nil }
func (f *fakeStore) ID(plain []byte) pack.ID                      { return pack.ID{} }
func (f *fakeStore) Get(context.Context, pack.ID, []byte) ([]byte, error) {
	return nil, chunkstore.ErrNotFound
}

func (f *fakeStore) Commit(_ context.Context, name string, body []byte) error {
	f.happens()
	if f.roots[name] != "" || f.dropped[name] != "" {
		return chunkstore.ErrRootExists
	}
	f.roots[name] = string(body)
	return nil
}

func (f *fakeStore) Root(_ context.Context, name string) ([]byte, error) {
	if b, ok := f.roots[name]; ok {
		return []byte(b), nil
	}
	return nil, chunkstore.ErrNotFound
}

func (f *fakeStore) Roots(_ context.Context, prefix, from string, fn func(string, []byte) bool) error {
	return eachRoot(f.roots, prefix, from, fn)
}

func eachRoot(roots map[string]string, prefix, from string, fn func(string, []byte) bool) error {
	var names []string
	for name := range roots {
		if name >= from && len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !fn(name, []byte(roots[name])) {
			break
		}
	}
	return nil
}

// inPacks are all roots that a rebuild finds.
type inPacks struct{ *fakeStore }

func (f inPacks) Roots(_ context.Context, prefix, from string, fn func(string, []byte) bool) error {
	all := map[string]string{}
	for _, m := range []map[string]string{f.roots, f.dropped} {
		for name, body := range m {
			all[name] = body
		}
	}
	return eachRoot(all, prefix, from, fn)
}

// prune drops some of what is doomed, and writes some packs anew.
func (f *fakeStore) prune(t *testing.T, r *rand.Rand) {
	names, err := Doomed(ctx, inPacks{f})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if body, ok := f.roots[name]; ok && r.IntN(3) > 0 {
			f.dropped[name] = body
			delete(f.roots, name)
		}
	}
	for name := range f.dropped {
		if r.IntN(2) == 0 {
			delete(f.dropped, name)
		}
	}
}

func (f *fakeStore) rebuild() {
	for name, body := range f.dropped {
		f.roots[name] = body
	}
	clear(f.dropped)
}
