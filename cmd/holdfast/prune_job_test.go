package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// openJob opens a new store with a prune that works in the background of this
// process whenever its Step is called.
func openJob(t *testing.T) (*owner.Handle, *backgroundPrune) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := chunkstore.Create(dir, chunkstore.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h, err := owner.Open(t.Context(), dir, owner.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, newBackgroundPrune(h, new(pruneTurn), slog.New(slog.DiscardHandler))
}

func mustStep(t *testing.T, b *backgroundPrune) (next time.Time) {
	t.Helper()
	next, err := b.Step(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func roundOf(t *testing.T, h *owner.Handle) pruneRound {
	t.Helper()
	r, err := loadPruneRound(h.Local())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPruneForRunsOut: a prune in the background that has used up its time ends
// unfinished, says so, and the next one goes on when it is due.
func TestPruneForRunsOut(t *testing.T) {
	h, b := openJob(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.now = func() time.Time { return now }
	p := catalog.Pruning{Every: 7 * 24 * time.Hour, For: time.Hour}
	if err := catalog.SetPruning(t.Context(), h, p); err != nil {
		t.Fatal(err)
	}
	// All of its time but a moment is used, as after a step that took so long,
	// and a session that was open before keeps it waiting for that moment.
	ses, err := h.Begin(t.Context(), "a capture that takes long")
	if err != nil {
		t.Fatal(err)
	}
	began := now.Add(-2 * time.Hour)
	if err := (pruneRound{Began: began, Used: p.For - time.Millisecond}).save(h.Local()); err != nil {
		t.Fatal(err)
	}
	mustStep(t, b)
	r := roundOf(t, h)
	if !r.Ended || r.Complete || r.Used < p.For || !r.LastEnd.Equal(now) {
		t.Fatalf("after its time: %+v", r)
	}
	if st := b.Status(); st.Note != "its time was used up; the next one goes on" || st.Due == nil || !st.Due.Equal(began.Add(p.Every)) {
		t.Fatalf("status %+v", st)
	}
	if err := ses.Close(); err != nil {
		t.Fatal(err)
	}
	if mustStep(t, b); roundOf(t, h) != r {
		t.Fatal("it works before it is due")
	}
	now = began.Add(p.Every)
	mustStep(t, b)
	if r := roundOf(t, h); !r.Ended || !r.Complete || !r.Began.Equal(now) {
		t.Fatalf("the next one: %+v", r)
	}
}

// TestTrashIsEmptiedWhileNothingIsDue: with the policy off, or between two
// prunes, what has been in the trash for its grace goes.
func TestTrashIsEmptiedWhileNothingIsDue(t *testing.T) {
	for _, p := range []catalog.Pruning{{}, {Every: time.Hour, Grace: time.Hour}} {
		h, b := openJob(t)
		// Of two pruning policies the first is superseded: something to drop.
		for _, every := range []time.Duration{2 * time.Hour, 3 * time.Hour} {
			if err := catalog.SetPruning(t.Context(), h, catalog.Pruning{Every: every}); err != nil {
				t.Fatal(err)
			}
		}
		if err := catalog.SetPruning(t.Context(), h, p); err != nil {
			t.Fatal(err)
		}
		if err := (pruneRound{Began: b.now(), Ended: true}).save(h.Local()); err != nil {
			t.Fatal(err)
		}
		r, err := h.Local().Prune(t.Context(), chunkstore.PruneOptions{Doomed: catalog.Doomed, Grace: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		if r.Packs == 0 {
			t.Fatalf("%+v", r)
		}
		time.Sleep(time.Millisecond) // the grace, which the prune itself may have outlasted
		mustStep(t, b)
		left, err := h.Local().Prune(t.Context(), chunkstore.PruneOptions{DryRun: true, Grace: time.Hour})
		if err != nil || left.TrashPacks != 0 {
			t.Fatalf("%d packs in the trash, %v", left.TrashPacks, err)
		}
	}
}

// TestPruneTurn: who calls a prune stops the background's, waits for its end, and
// keeps it from beginning again until all who called are done.
func TestPruneTurn(t *testing.T) {
	var turn pruneTurn
	ctx, end, ok := turn.begin(t.Context())
	if !ok || ctx.Err() != nil {
		t.Fatal("nobody called, and it can't begin")
	}
	if _, _, ok := turn.begin(t.Context()); ok {
		t.Fatal("two in the background")
	}
	called := make(chan func(), 2)
	for range 2 {
		go func() {
			done, err := turn.call(t.Context())
			if err != nil {
				t.Error(err)
			}
			called <- done
		}()
	}
	<-ctx.Done()
	select {
	case <-called:
		t.Fatal("a call goes on while the background works")
	default:
	}
	if _, _, ok := turn.begin(t.Context()); ok {
		t.Fatal("it begins again while one is at work")
	}
	end()
	first, second := <-called, <-called
	for _, done := range []func(){first, second} {
		if _, _, ok := turn.begin(t.Context()); ok {
			t.Fatal("it begins while somebody's runs")
		}
		done()
	}
	ctx, end, ok = turn.begin(t.Context())
	if !ok || ctx.Err() != nil {
		t.Fatal("it can't begin when all are done")
	}
	// Who gives up waiting is no longer in the way.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turn.call(gone); err == nil {
		t.Fatal("a call goes on that was given up")
	}
	end()
	_, end, ok = turn.begin(t.Context())
	if !ok {
		t.Fatal("who gave up is in the way")
	}
	end()
}

// TestPruneRoundOfAnotherProgram: what can't be understood is begun anew.
func TestPruneRoundOfAnotherProgram(t *testing.T) {
	h, _ := openJob(t)
	for _, b := range []string{"", "{", `{"began": 7}`} {
		if err := h.Local().SetJob(pruneJobName, []byte(b)); err != nil {
			t.Fatal(err)
		}
		if r := roundOf(t, h); r != (pruneRound{}) {
			t.Errorf("%q is %+v", b, r)
		}
	}
	want := pruneRound{Began: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Used: 7, Freed: 8}
	if err := want.save(h.Local()); err != nil {
		t.Fatal(err)
	}
	if got := roundOf(t, h); got != want {
		b, _ := json.Marshal(got)
		t.Errorf("%s", b)
	}
}
