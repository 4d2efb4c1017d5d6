package catalog

import (
	"context"
	"slices"
	"testing"
	"time"

	"holdfast/chunkstore"
)

// TestPruningIsKept: what was said last holds, what was said before is doomed,
// and what can't be read prunes nothing and can be replaced.
func TestPruningIsKept(t *testing.T) {
	ctx := context.Background()
	s, _ := newStore(t)
	if p, err := PruningOf(ctx, s); err != nil || p.On() {
		t.Fatalf("a new store: %+v, %v", p, err)
	}
	first := Pruning{Every: 24 * time.Hour, For: time.Hour, Grace: 48 * time.Hour}
	last := Pruning{Every: leastEvery, Forget: true}
	for _, p := range []Pruning{first, first, last} { // the same again is nothing new
		if err := SetPruning(ctx, s, p); err != nil {
			t.Fatal(err)
		}
		if got, err := PruningOf(ctx, s); err != nil || got != p {
			t.Fatalf("%+v, %v; want %+v", got, err, p)
		}
	}
	name := func(n uint64) string { return appendSeq(seqPrefix(pruningPrefix, ""), n) }
	if names, err := Doomed(ctx, s); err != nil || !slices.Equal(names, []string{name(1)}) {
		t.Fatalf("doomed: %q, %v", names, err)
	}
	if err := SetPruning(ctx, s, Pruning{}); err != nil {
		t.Fatal(err)
	}
	if p, err := PruningOf(ctx, s); err != nil || p.On() {
		t.Fatalf("switched off: %+v, %v", p, err)
	}
	for i, body := range []string{`{"format":1,"every_ns":1}`, `{"format":2}`, `{"format":1,"moon":3}`, `{"format":1}{}`, ``, `{"format":1,"for_ns":-1}`} {
		if err := must[chunkstore.Session](t)(s.Begin(ctx, "")).Commit(ctx, name(uint64(i+9)), []byte(body)); err != nil {
			t.Fatal(err)
		}
		if p, err := PruningOf(ctx, s); err == nil || p.On() {
			t.Errorf("%s: %+v", body, p)
		}
	}
	if err := SetPruning(ctx, s, last); err != nil {
		t.Fatal(err)
	}
	if got, err := PruningOf(ctx, s); err != nil || got != last {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, p := range []Pruning{{Every: leastEvery - 1}, {Every: -1}, {For: maxKeepTime + 1}, {Grace: -1}} {
		if SetPruning(ctx, s, p) == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}
