package catalog

import (
	"slices"
	"testing"
)

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
