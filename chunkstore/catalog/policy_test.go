package catalog

import (
	"slices"
	"testing"
	"time"

	"holdfast/chunkstore"
)

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
