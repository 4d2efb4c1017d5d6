package main

import (
	"context"
	"sync/atomic"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// defaultMaxUnused is the share of the store that a prune leaves unused rather
// than copy more.
const defaultMaxUnused = 0.05

const (
	pathPrune         = "/v1/x/prune"
	pathCheck         = "/v1/x/check"
	pathPruneProgress = "/v1/x/prune/progress"
)

// pruneProgress is how far a prune or check is.
type pruneProgress struct {
	Phase       string
	Done, Total int64
}

// pruneStore prunes an open store by its catalog. A long-lived owner calls it
// with a MaxDuration as often as it likes: it goes on where it stopped.
func pruneStore(ctx context.Context, s *chunkstore.Store, opts chunkstore.PruneOptions) (*chunkstore.PruneReport, error) {
	opts.Doomed, opts.Walk = catalog.Doomed, catalog.Walk(s)
	return s.Prune(ctx, opts)
}

// servePruning lets the owner answer for prune and check.
func servePruning(h *owner.Handle, opts common) {
	turn := &opts.Jobs.prune
	var running atomic.Pointer[chunkstore.PruneProgress]
	h.Handle("POST "+pathPrune, answering(h, func(ctx context.Context, s *chunkstore.Store, in chunkstore.PruneOptions) (any, error) {
		done, err := turn.call(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		in.Progress = new(chunkstore.PruneProgress)
		running.Store(in.Progress)
		return answerOf(pruneStore(ctx, s, in))
	}))
	h.Handle("POST "+pathCheck, answering(h, func(ctx context.Context, s *chunkstore.Store, in chunkstore.CheckOptions) (any, error) {
		done, err := turn.call(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		in.Walk, in.Name, in.Progress = catalog.Walk(s), catalog.RootText, new(chunkstore.PruneProgress)
		running.Store(in.Progress)
		return answerOf(chunkstore.Check(ctx, s, in))
	}))
	h.Handle("POST "+pathPruneProgress, answering(h, func(context.Context, *chunkstore.Store, struct{}) (any, error) {
		p := running.Load()
		if p == nil || p.Phase.Load() == nil {
			return pruneProgress{}, nil
		}
		return pruneProgress{*p.Phase.Load(), p.Done.Load(), p.Total.Load()}, nil
	}))
}

// answerOf keeps a nil pointer beside an error from becoming an answer.
func answerOf[T any](out *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}

// pruneNotice is how long a phase may take before it is told of.
const pruneNotice = 10 * time.Second

// watchPrune tells now and then how far the owner's prune or check is.
func watchPrune(ctx context.Context, h *owner.Handle, con *console) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pruneNotice)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var p pruneProgress
			if h.Call(ctx, pathPruneProgress, struct{}{}, &p) == nil && p.Phase != "" {
				con.note("%s", pruneWords(p))
			}
		}
	}()
	return func() { cancel(); <-done }
}

// pruneWords says in which phase a prune is, and how far.
func pruneWords(p pruneProgress) string {
	switch p.Phase {
	case "mark":
		return "finding what is used: " + countText(p.Done, "chunk")
	case "condemn", "index":
		return "comparing with the index: " + countText(p.Done, "chunk")
	case "packs":
		return "comparing packs with the index: " + thousands(p.Done) + " of " + countText(p.Total, "record")
	case "wait":
		return "waiting for captures that began before the prune; Ctrl-C stops it, and the next prune goes on"
	}
	return "copying what is used out of packs: " + sizeText(p.Done) + " of " + sizeText(p.Total)
}
