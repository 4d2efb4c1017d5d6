package catalog

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
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
