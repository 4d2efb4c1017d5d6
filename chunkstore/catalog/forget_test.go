package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

func at(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }

func idAt(h int) string { return makeID(at(h), 1) }

func ids(t *testing.T, r chunkstore.Roots, vm string) []string {
	t.Helper()
	list, err := IDs(ctx, r, vm)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestForgottenVersionsAreNotSeen(t *testing.T) {
	s, ses := newStore(t)
	for h := range 4 {
		mustCommit(t, ses, version("web", at(h), "vda"))
	}
	mustCommit(t, ses, version("db", at(0), "vda"))
	changed := must[[]string](t)(Forget(ctx, s, "web", idAt(1), idAt(3), idAt(1)))
	if !slices.Equal(changed, []string{idAt(1), idAt(3)}) {
		t.Fatalf("forgotten %q", changed)
	}
	if again := must[[]string](t)(Forget(ctx, s, "web", idAt(1))); len(again) != 0 {
		t.Fatalf("forgotten again %q", again)
	}
	if got := ids(t, s, "web"); !slices.Equal(got, []string{idAt(0), idAt(2)}) {
		t.Fatalf("ids %q", got)
	}
	if v := must[*Version](t)(Latest(ctx, s, "web")); v.ID != idAt(2) {
		t.Fatalf("latest %s", v.ID)
	}
	if id := must[string](t)(Newest(ctx, s, "web", idAt(3))); id != idAt(2) {
		t.Fatalf("newest, when the newest was forgotten: %s", id)
	}
	if _, err := Get(ctx, s, "web", idAt(3)); !errors.Is(err, ErrForgotten) || !errors.Is(err, ErrNoVersion) {
		t.Fatalf("get: %v", err)
	}
	if v, err := Resolve(ctx, s, "web@"+idAt(3)); !errors.Is(err, ErrForgotten) {
		t.Fatalf("resolve: %v, %v", v, err)
	}
	if v := must[*Version](t)(Resolve(ctx, s, "web@2100-01-01")); v.ID != idAt(2) {
		t.Fatalf("newest up to a time: %s", v.ID)
	}
	must[[]string](t)(Forget(ctx, s, "web", idAt(0), idAt(2)))
	if vms := must[[]string](t)(VMs(ctx, s)); !slices.Equal(vms, []string{"db"}) {
		t.Fatalf("VMs %q", vms)
	}
	if _, err := Latest(ctx, s, "web"); !errors.Is(err, ErrNoVM) {
		t.Fatalf("latest of a VM that was forgotten: %v", err)
	}
	if _, err := Forget(ctx, s, "web", "2001-01-01T00-00-00Z"); !errors.Is(err, ErrNoVersion) {
		t.Fatalf("forget of what is not there: %v", err)
	}
	// A version of the same second gets another id while the old one is there.
	if id := mustCommit(t, ses, version("web", at(0), "vda")); id != idAt(0)+"-02" {
		t.Fatalf("a new version got the id %s", id)
	}
}

func TestPinsHold(t *testing.T) {
	s, ses := newStore(t)
	mustCommit(t, ses, version("web", at(0), "vda"))
	mustCommit(t, ses, version("web", at(1), "vda"))
	must[[]string](t)(Pin(ctx, s, "web", idAt(0)))
	if _, err := Forget(ctx, s, "web", idAt(1), idAt(0)); !errors.Is(err, ErrPinned) {
		t.Fatalf("forget of a pinned version: %v", err)
	}
	if got := ids(t, s, "web"); len(got) != 2 {
		t.Fatalf("a refused forget took some: %q", got)
	}
	must[[]string](t)(Unpin(ctx, s, "web", idAt(0)))
	must[[]string](t)(Forget(ctx, s, "web", idAt(0)))
	if _, err := Pin(ctx, s, "web", idAt(0)); !errors.Is(err, ErrForgotten) {
		t.Fatalf("pin of a forgotten version: %v", err)
	}
}

func TestRetain(t *testing.T) {
	s, ses := newStore(t)
	for h := range 6 {
		mustCommit(t, ses, version("web", at(h), "vda"))
	}
	must[[]string](t)(Pin(ctx, s, "web", idAt(1)))
	opts := RetainOptions{Policy: Policy{Last: 1}, Now: at(4), DryRun: true, States: map[string]chunkstore.Validation{idAt(2): chunkstore.Valid}}
	dry := must[[]Verdict](t)(Retain(ctx, s, "web", opts))
	if got := ids(t, s, "web"); len(got) != 6 {
		t.Fatalf("a dry run left %q", got)
	}
	opts.DryRun = false
	if real := must[[]Verdict](t)(Retain(ctx, s, "web", opts)); !reflect.DeepEqual(dry, real) {
		t.Fatalf("a dry run says %v, the run %v", dry, real)
	}
	// 1 is pinned, 2 the last valid one, 4 the last, 5 in the future.
	if got, want := ids(t, s, "web"), []string{idAt(1), idAt(2), idAt(4), idAt(5)}; !slices.Equal(got, want) {
		t.Fatalf("left %q, want %q", got, want)
	}
	if _, err := Retain(ctx, s, "nobody", opts); !errors.Is(err, ErrNoVM) {
		t.Fatal(err)
	}
}

// TestManyActsAtOnce lets many decide at the same moment: all of it holds.
func TestManyActsAtOnce(t *testing.T) {
	s, ses := newStore(t)
	const n = 8
	for h := range n {
		mustCommit(t, ses, version("web", at(h), "vda"))
	}
	var all sync.WaitGroup
	for h := range n {
		all.Add(1)
		go func() {
			defer all.Done()
			var err error
			if h%2 == 0 {
				_, err = Pin(ctx, s, "web", idAt(h))
			} else {
				_, err = Forget(ctx, s, "web", idAt(h))
			}
			if err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	err := Marked(ctx, s, "web", func(v *Version, m Mark, _ error) {
		want := Pinned
		if v.Time.Sub(noon)/time.Hour%2 == 1 {
			want = Forgotten
		}
		if m != want {
			t.Errorf("version %s bears %b, want %b", v.ID, m, want)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withData commits a version with one small disk of real chunks.
func withData(t *testing.T, s *chunkstore.Store, ses chunkstore.Session, vm string, when time.Time) *Version {
	t.Helper()
	plain := bytes.Repeat([]byte(vm+when.String()), 100)
	rec := s.Codec().Encode(nil, pack.KindData, s.Codec().ID(plain), plain)
	if _, err := ses.Put(ctx, []pack.Record{rec}); err != nil {
		t.Fatal(err)
	}
	b, err := disk.NewBuilder(1<<20, func(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
		id := s.Codec().ID(plain)
		_, err := ses.Put(ctx, []pack.Record{s.Codec().Encode(nil, kind, id, plain)})
		return id, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, 0, disk.RegionMap{{Off: 0, Len: len(plain), ID: rec.ID}}); err != nil {
		t.Fatal(err)
	}
	v := version(vm, when, "vda")
	if v.Disks[0].Map, err = b.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, ses, v)
	return v
}

func TestUndelete(t *testing.T) {
	s, ses := newStore(t)
	v := withData(t, s, ses, "web", at(0))
	mustCommit(t, ses, version("web", at(1), "vda"))
	must[[]string](t)(Forget(ctx, s, "web", v.ID, idAt(1)))
	back := must[[]string](t)(Undelete(ctx, s, "web", UndeleteOptions{}, v.ID))
	if !slices.Equal(back, []string{v.ID}) || !slices.Equal(ids(t, s, "web"), back) {
		t.Fatalf("back: %q, there: %q", back, ids(t, s, "web"))
	}
	if back := must[[]string](t)(Undelete(ctx, s, "web", UndeleteOptions{}, v.ID)); len(back) != 0 {
		t.Fatalf("undeleted twice: %q", back)
	}
	if _, err := Undelete(ctx, s, "web", UndeleteOptions{}, idAt(7)); !errors.Is(err, ErrNoVersion) {
		t.Fatal(err)
	}
}

// absent is a store in which some chunks are not found.
type absent struct {
	*chunkstore.Store
	gone func(pack.ID) bool
}

type absentSession struct {
	chunkstore.Session
	absent
}

func (a absent) Begin(ctx context.Context, what string) (chunkstore.Session, error) {
	ses, err := a.Store.Begin(ctx, what)
	return absentSession{ses, a}, err
}

func (a absent) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	if a.gone(id) {
		return nil, chunkstore.ErrNotFound
	}
	return a.Store.Get(ctx, id, buf)
}

func (a absentSession) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	return a.absent.Get(ctx, id, buf)
}
func (a absentSession) ID(plain []byte) pack.ID { return a.Store.ID(plain) }
func (a absentSession) Has(ctx context.Context, ids []pack.ID, have []bool) error {
	err := a.Session.Has(ctx, ids, have)
	for i, id := range ids {
		have[i] = have[i] && !a.gone(id)
	}
	return err
}
func (a absentSession) Commit(ctx context.Context, name string, body []byte) error {
	return a.Session.Commit(ctx, name, body)
}
func (a absentSession) Close() error { return a.Session.Close() }

func TestUndeleteOfWhatWasPruned(t *testing.T) {
	s, ses := newStore(t)
	v := withData(t, s, ses, "web", at(0))
	must[[]string](t)(Forget(ctx, s, "web", v.ID))
	var parts []pack.ID
	r, err := disk.Open(nil, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Parts(ctx, func(p disk.Part) (bool, error) { parts = append(parts, p.ID); return true, nil }); err != nil {
		t.Fatal(err)
	}
	if len(parts) < 3 {
		t.Fatalf("only %d parts", len(parts))
	}
	for i, id := range parts {
		without := absent{s, func(other pack.ID) bool { return other == id }}
		if _, err := Undelete(ctx, without, "web", UndeleteOptions{}, v.ID); !errors.Is(err, ErrPruned) {
			t.Errorf("without part %d: %v", i, err)
		}
	}
	if _, err := Get(ctx, s, "web", v.ID); !errors.Is(err, ErrForgotten) {
		t.Fatalf("a refused undelete: %v", err)
	}
	without := absent{s, func(other pack.ID) bool { return other == parts[0] }}
	must[[]string](t)(Undelete(ctx, without, "web", UndeleteOptions{Partly: true}, v.ID))
	must[*Version](t)(Get(ctx, s, "web", v.ID))
}

// TestUndeleteBesideAPruning lets a pruning come at each moment of an undelete,
// and the index be made anew then: the version is back, or forgotten for good.
func TestUndeleteBesideAPruning(t *testing.T) {
	for moment := range 5 {
		s := &fakeStore{roots: map[string]string{}, dropped: map[string]string{}}
		mustCommit(t, s, version("web", at(0), "vda"))
		must[[]string](t)(Forget(ctx, s, "web", idAt(0)))
		n := 0
		s.before = func() {
			if n == moment {
				for _, name := range must[[]string](t)(Doomed(ctx, inPacks{s})) {
					s.dropped[name] = s.roots[name]
					delete(s.roots, name)
				}
			}
			n++
		}
		back, err := Undelete(ctx, s, "web", UndeleteOptions{}, idAt(0))
		s.before = nil
		if moment < 4 && n <= moment {
			t.Fatalf("moment %d was not met", moment)
		}
		if err == nil && len(back) != 1 || err != nil && !errors.Is(err, ErrNoVersion) {
			t.Fatalf("moment %d: %q, %v", moment, back, err)
		}
		s.rebuild()
		if _, gerr := Get(ctx, s, "web", idAt(0)); (gerr == nil) != (err == nil) {
			t.Fatalf("moment %d: undelete %v, and after a rebuild: %v", moment, err, gerr)
		}
		if names := must[[]string](t)(Doomed(ctx, inPacks{s})); slices.Contains(names, rootName("web", idAt(0))) != (err != nil) {
			t.Fatalf("moment %d: undelete %v, and doomed: %q", moment, err, names)
		}
	}
}

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

func TestDoomed(t *testing.T) {
	s := &fakeStore{roots: map[string]string{}, dropped: map[string]string{}}
	for h := range 3 {
		mustCommit(t, s, version("web", at(h), "vda"))
	}
	act := func(n uint64) string { return appendSeq(seqPrefix(actPrefix, "web"), n) }
	policy := func(vm string, n uint64) string { return appendSeq(seqPrefix(policyPrefix, vm), n) }
	for _, last := range []int{1, 2, 3} {
		for _, vm := range []string{"", "web", "web\x00"} {
			if err := SetPolicy(ctx, s, vm, &Policy{Last: last}); err != nil {
				t.Fatal(err)
			}
		}
	}
	policies := []string{policy("", 1), policy("", 2), policy("web", 1), policy("web", 2), policy("web\x00", 1), policy("web\x00", 2)}
	check := func(where string, want ...string) {
		t.Helper()
		got := must[[]string](t)(Doomed(ctx, s))
		slices.Sort(got)
		want = append(want, policies...)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: doomed %q, want %q", where, got, want)
		}
	}
	check("nothing forgotten")
	must[[]string](t)(Forget(ctx, s, "web", idAt(0), idAt(1))) // act 1
	check("two forgotten", rootName("web", idAt(0)), rootName("web", idAt(1)))
	must[[]string](t)(Pin(ctx, s, "web", idAt(2))) // act 2
	delete(s.roots, rootName("web", idAt(0)))
	check("act 1 still holds one", rootName("web", idAt(1)))
	delete(s.roots, rootName("web", idAt(1)))
	check("act 1 holds none", act(1))
	must[[]string](t)(Unpin(ctx, s, "web", idAt(2))) // act 3
	check("act 2 is superseded", act(1), act(2))
	delete(s.roots, rootName("web", idAt(2)))
	check("the last act stays", act(1), act(2))
	s.roots[act(4)] = "\x07"
	if names, err := Doomed(ctx, s); err == nil {
		t.Fatalf("an act that can't be read: doomed %q", names)
	}
}

func TestPolicies(t *testing.T) {
	s, _ := newStore(t)
	if _, _, ok, err := PolicyOf(ctx, s, "web"); ok || err != nil {
		t.Fatal(ok, err)
	}
	def, own := Policy{Last: 3, Zone: "local"}, Policy{Daily: 7, Yearly: NoLimit, Within: time.Hour, MinAge: time.Minute}
	set := func(vm string, p *Policy) {
		t.Helper()
		if err := SetPolicy(ctx, s, vm, p); err != nil {
			t.Fatal(err)
		}
	}
	check := func(vm string, want Policy, wantOwn bool) {
		t.Helper()
		if got, isOwn, ok, err := PolicyOf(ctx, s, vm); err != nil || !ok || isOwn != wantOwn || got != want {
			t.Fatalf("policy of %q: %+v, own %v, %v, %v; want %+v, %v", vm, got, isOwn, ok, err, want, wantOwn)
		}
	}
	set("", &Policy{Last: 2})
	set("", &def)
	set("web", &own)
	set("db", &own)
	check("web", own, true)
	check("other", def, false)
	check("", def, true)
	set("web", nil)
	set("web", nil)
	check("web", def, false)
	if vms := must[[]string](t)(Policies(ctx, s)); !slices.Equal(vms, []string{"", "db"}) {
		t.Fatalf("policies of %q", vms)
	}
	for _, bad := range []*Policy{{}, {Last: -5}} {
		if err := SetPolicy(ctx, s, "web", bad); err == nil {
			t.Errorf("%+v: taken", bad)
		}
	}
	// One that can't be read counts for nothing else, and can be replaced.
	if err := must[chunkstore.Session](t)(s.Begin(ctx, "")).Commit(ctx, appendSeq(seqPrefix(policyPrefix, "db"), 9), []byte(`{"format":1,"keep_last":1,"keep_moons":3}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := PolicyOf(ctx, s, "db"); err == nil {
		t.Fatal("a policy with an unknown rule was taken")
	}
	set("db", &def)
	check("db", def, true)
}

// TestActsSurviveTheIndex makes the index anew from the packs: what was said
// holds.
func TestActsSurviveTheIndex(t *testing.T) {
	fsys := vfs.NewMem()
	if _, err := chunkstore.Create("/store", chunkstore.CreateOptions{FS: fsys}); err != nil {
		t.Fatal(err)
	}
	open := func() *chunkstore.Store {
		return must[*chunkstore.Store](t)(chunkstore.Open("/store", chunkstore.Options{FS: fsys}))
	}
	s := open()
	ses := must[chunkstore.Session](t)(s.Begin(ctx, "test"))
	for h := range 3 {
		mustCommit(t, ses, version("web", at(h), "vda"))
	}
	must[[]string](t)(Forget(ctx, s, "web", idAt(0), idAt(1)))
	must[[]string](t)(Pin(ctx, s, "web", idAt(2)))
	must[[]string](t)(Undelete(ctx, s, "web", UndeleteOptions{}, idAt(1)))
	if err := SetPolicy(ctx, s, "web", &Policy{Last: 1}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ses.Close(), s.Close(), fsys.RemoveAll("/store/index")); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if got := ids(t, s, "web"); !slices.Equal(got, []string{idAt(1), idAt(2)}) {
		t.Fatalf("after a rebuild: %q", got)
	}
	if _, err := Forget(ctx, s, "web", idAt(2)); !errors.Is(err, ErrPinned) {
		t.Fatal(err)
	}
	if p, own, _, err := PolicyOf(ctx, s, "web"); err != nil || !own || p.Last != 1 {
		t.Fatal(p, own, err)
	}
}

func FuzzAct(f *testing.F) {
	b, err := encodeAct([]entry{{"2026-11-21T12-00-00Z", identity{1, 2}, Forgotten}, {"2026-11-21T12-00-00Z-02", identity{3}, Pinned}, {"x", identity{}, 0}})
	if err != nil {
		f.Fatal(err)
	}
	for i := range len(b) + 1 {
		f.Add(b[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeAct(b)
		if err != nil {
			return
		}
		again, err := encodeAct(entries)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x, %v", b, again, err)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	for _, p := range []policyFile{{Policy: Policy{Last: 1, Daily: 2, Yearly: NoLimit, Within: time.Hour, Zone: "Europe/Berlin"}}, {Inherit: true}} {
		b, err := p.encode()
		if err != nil {
			f.Fatal(err)
		}
		for i := 0; i <= len(b); i += 7 {
			f.Add(b[:i])
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok, err := decodePolicy(b)
		if err != nil || !ok {
			return
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("decoded what is not valid: %v", err)
		}
		again, err := policyFile{Policy: p}.encode()
		if q, _, err2 := decodePolicy(again); err != nil || err2 != nil || q != p {
			t.Fatalf("%+v came back as %+v, %v, %v", p, q, err, err2)
		}
	})
}
