package tests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

func (k *soak) pruneOptions() chunkstore.PruneOptions {
	return chunkstore.PruneOptions{Doomed: catalog.Doomed, Walk: catalog.Walk(k.open()), MaxUnused: float64(k.rand.IntN(3)) / 10}
}

// doom notes that what is forgotten now may go.
func (k *soak) doom() {
	for _, versions := range k.vms {
		for _, v := range versions {
			v.doomed = v.doomed || v.forgotten
		}
	}
}

// buried takes the versions that are gone from those that were doomed; with all,
// none of them may be left.
func (k *soak) buried(all bool) {
	k.Helper()
	for vm, versions := range k.vms {
		k.vms[vm] = slices.DeleteFunc(versions, func(v *soakVersion) bool {
			_, err := catalog.Marking(k.ctx, k.open(), vm, v.id)
			gone := errors.Is(err, catalog.ErrNoVersion)
			if gone && !v.doomed || !gone && (err != nil || v.forgotten && all) {
				k.Fatalf("after a prune, version %s of %q (%+v): %v", v.id, vm, v.forgotten, err)
			}
			if gone {
				k.ended[vm+"@"+v.id] = fmt.Sprintf("pruned in step %d", k.steps())
			}
			return gone
		})
	}
}

// prune frees what was forgotten.
func (k *soak) prune() {
	k.doom()
	rep, err := k.open().Prune(k.ctx, k.pruneOptions())
	if err != nil || !rep.Complete && !k.injured {
		k.Fatalf("prune: %+v, %v", rep, err)
	}
	k.buried(true)
	k.read()
}

// pruneBeside prunes while versions come, are forgotten and come back. What is
// forgotten at any moment of it may go.
func (k *soak) pruneBeside() {
	k.doom()
	type result struct {
		rep *chunkstore.PruneReport
		err error
	}
	done, s, opts := make(chan result, 1), k.open(), k.pruneOptions()
	ctx, cancel := context.WithCancel(k.ctx)
	ended := make(chan struct{})
	defer func() { cancel(); <-ended }() // also where a step fails the test
	go func() {
		defer close(ended)
		rep, err := s.Prune(ctx, opts)
		done <- result{rep, err}
	}()
	others := []func(*soak){(*soak).capture, (*soak).captureClones, (*soak).read, (*soak).forget, (*soak).undelete, (*soak).list}
	for range k.rand.IntN(8) {
		k.doom()
		others[k.rand.IntN(len(others))](k)
	}
	k.doom()
	stopped := k.rand.IntN(4) == 0
	if stopped {
		cancel()
	}
	if r := <-done; r.err != nil && !(stopped && errors.Is(r.err, context.Canceled)) {
		k.Fatalf("prune beside others: %+v, %v", r.rep, r.err)
	}
	k.buried(false)
	k.list()
	k.read()
}

// size is what the packs take.
func (k *soak) size() (n int64) {
	for _, path := range k.packs() {
		st, err := os.Stat(path)
		if err != nil {
			k.Fatal(err)
		}
		n += st.Size()
	}
	return n
}

// fullPrune frees all that can be, and compares what is left with a new store of
// the same versions.
func (k *soak) fullPrune() {
	k.doom()
	opts := k.pruneOptions()
	opts.MaxUnused = 0
	before := k.size()
	rep, err := k.open().Prune(k.ctx, opts)
	if err != nil || !rep.Complete {
		k.Fatalf("the last prune: %+v, %v", rep, err)
	}
	k.buried(true)
	k.closeStore()
	fresh := k.fresh()
	loose := fresh.size()
	fopts := fresh.pruneOptions()
	fopts.MaxUnused = 0
	if _, err := fresh.open().Prune(k.ctx, fopts); err != nil { // for each commit makes packs of its own, and they are merged here as there
		k.Fatal(err)
	}
	fresh.closeStore()
	if got, want := k.size(), fresh.size(); float64(got) > 1.05*float64(want) {
		k.Errorf("after a full prune %d versions take %d bytes, %d in a new store", k.count(false), got, want)
	} else {
		k.Logf("%d versions took %d bytes before the last prune, %d after it; %d in a new store, %d once that is pruned, too", k.count(false), before, got, loose, want)
	}
}

// fresh stores the same versions anew, in the order of their times.
func (k *soak) fresh() *soak {
	f := &soak{program: newStore(k.T), ctx: k.ctx, rand: k.rand, done: map[string]int{}, took: map[string]time.Duration{}, ended: map[string]string{}}
	type one struct {
		vm string
		v  *soakVersion
	}
	var all []one
	for vm, versions := range k.vms {
		for _, v := range versions {
			all = append(all, one{vm, v})
		}
	}
	slices.SortFunc(all, func(a, b one) int { return cmp.Or(cmp.Compare(a.v.id, b.v.id), cmp.Compare(a.vm, b.vm)) })
	for _, o := range all {
		at, err := time.Parse("2006-01-02T15-04-05Z", o.v.id)
		if err == nil {
			err = f.captureOf(f.open(), o.vm, at, o.v.content)
		}
		if err != nil {
			k.Fatal(err)
		}
	}
	f.closeStore()
	return f
}

// killPrune kills a prune of the program; what was forgotten may be gone then, and
// nothing else.
func (k *soak) killPrune() {
	k.doom()
	done := k.killed(300*time.Millisecond, "prune", "--grace", "0s")
	k.buried(done)
	k.list()
	k.read()
}
