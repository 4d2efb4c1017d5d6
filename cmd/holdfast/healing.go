package main

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

// What a scrub and its like do needs the store itself, so the process that owns
// it does it, for others as for itself.
const (
	pathScrub    = "/v1/x/scrub"
	pathProgress = "/v1/x/scrub/progress"
	pathVerify   = "/v1/x/verify"
	pathDamage   = "/v1/x/damage"
	pathStates   = "/v1/x/states"
)

const (
	maxListed   = 30000 // of chunks and uses in one answer
	maxAsked    = 64 << 10
	progressAsk = 2 * time.Second
)

// versionRef names a version, or a VM, on the way to the owner; names may be
// any bytes.
type versionRef struct {
	VM   []byte
	ID   string
	Opts heal.Options
}

// progressView is how far a scrub or validation is.
type progressView struct{ Done, Total int64 }

// serveHealing lets the owner answer for scrub, verify, damage and the states
// of versions.
func serveHealing(h *owner.Handle, opts common) {
	var running atomic.Pointer[heal.Progress]
	h.Handle("POST "+pathScrub, answering(h, func(ctx context.Context, s *chunkstore.Store, in heal.Options) (any, error) {
		in.Progress, in.Log = new(heal.Progress), opts.Log
		running.Store(in.Progress)
		r, err := heal.Scrub(ctx, s, in)
		if err != nil {
			return nil, err
		}
		r.Left.Trim(maxListed)
		return r, nil
	}))
	h.Handle("POST "+pathProgress, answering(h, func(context.Context, *chunkstore.Store, struct{}) (any, error) {
		p := running.Load()
		if p == nil {
			return progressView{}, nil
		}
		return progressView{p.Done.Load(), p.Total.Load()}, nil
	}))
	h.Handle("POST "+pathVerify, answering(h, func(ctx context.Context, s *chunkstore.Store, in versionRef) (any, error) {
		v, err := catalog.Get(ctx, s, string(in.VM), in.ID)
		if err != nil {
			return nil, err
		}
		in.Opts.Progress, in.Opts.Log = new(heal.Progress), opts.Log
		running.Store(in.Opts.Progress)
		r, err := heal.Verify(ctx, s, v, in.Opts)
		if err != nil {
			return nil, err
		}
		r.Hurt.Trim(maxListed)
		return r, nil
	}))
	h.Handle("POST "+pathDamage, answering(h, func(ctx context.Context, s *chunkstore.Store, _ struct{}) (any, error) {
		r, err := heal.Hurt(ctx, s)
		if err != nil {
			return nil, err
		}
		if err := heal.GuestFiles(ctx, s, r); err != nil {
			return nil, err
		}
		r.Trim(maxListed)
		return r, nil
	}))
	h.Handle("POST "+pathStates, answering(h, func(ctx context.Context, s *chunkstore.Store, in versionRef) (any, error) {
		states := map[string]string{}
		ids, err := catalog.IDs(ctx, s, string(in.VM))
		for _, id := range ids {
			if st, err := heal.State(s, string(in.VM), id); err == nil && st.State != chunkstore.Pending {
				states[id] = st.State.String()
			}
		}
		return states, err
	}))
}

// answering makes a handler of a function that works on the open store.
func answering[In any](h *owner.Handle, do func(context.Context, *chunkstore.Store, In) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsked)).Decode(&in); err != nil {
			owner.Fail(w, err)
			return
		}
		s := h.Local()
		if s == nil {
			owner.Fail(w, owner.ErrOwnerLost)
			return
		}
		out, err := do(r.Context(), s, in)
		if err != nil {
			owner.Fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(out)
	}
}

// watchOwner shows how far the owner's scrub or validation is.
func watchOwner(ctx context.Context, h *owner.Handle, con *console, what string) (end func()) {
	return watchPath(ctx, h, con, what, pathProgress)
}

// watchPath is watchOwner for work of which the owner tells on another path.
func watchPath(ctx context.Context, h *owner.Handle, con *console, what, path string) (end func()) {
	var last progressView
	return con.watch(gauge{
		what: what,
		bytes: func() (int64, int64) {
			ctx, cancel := context.WithTimeout(ctx, progressAsk)
			defer cancel()
			var p progressView
			if h.Call(ctx, path, struct{}{}, &p) == nil {
				last = p
			}
			return last.Done, last.Total
		},
		moved: func() int64 { return last.Done },
	})
}

// statesOf returns what is known of a VM's versions, by id; nothing where the
// owner is of another version.
func statesOf(ctx context.Context, h *owner.Handle, vm string) map[string]string {
	var states map[string]string
	if h.Call(ctx, pathStates, versionRef{VM: []byte(vm)}, &states) != nil {
		return nil
	}
	return states
}

// withState adds what is known of a version's soundness.
func withState(v versionView, states map[string]string) versionView {
	if st, ok := states[v.ID]; ok && v.State == statePending {
		v.State = st
	}
	return v
}

// stateText shows a state to a person.
func stateText(state string) string {
	if state == chunkstore.Valid.String() {
		return state + " ✓"
	}
	return state
}
