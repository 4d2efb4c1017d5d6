package owner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// do runs op on the store, and again on the next owner when one is lost
// meanwhile. A store whose owners are lost time and again gives up after the
// options' Wait.
func (h *Handle) do(ctx context.Context, op func(chunkstore.API) error) error {
	var w *wait
	for {
		inc, err := h.enter(ctx)
		if err != nil {
			return err
		}
		err = func() error {
			defer inc.ops.leave()
			return op(inc.API)
		}()
		if !errors.Is(err, ErrOwnerLost) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errClosing) { // who is closing still answers to others
			h.drop(inc)
		}
		if w == nil {
			w = newWait(h.opts.Wait)
		} else if !w.pause(ctx) {
			return err
		}
	}
}

// Info implements chunkstore.API.
func (h *Handle) Info() chunkstore.Info { return h.cfg.Info }

// ID implements chunkstore.API.
func (h *Handle) ID(plain []byte) chunkstore.ID { return h.codec.ID(plain) }

// Get implements chunkstore.Getter.
func (h *Handle) Get(ctx context.Context, id chunkstore.ID, buf []byte) (plain []byte, err error) {
	err = h.do(ctx, func(a chunkstore.API) error { plain, err = a.Get(ctx, id, buf); return err })
	return plain, err
}

var _ chunkstore.PartGetter = (*Handle)(nil)

// GetPart implements chunkstore.PartGetter.
func (h *Handle) GetPart(ctx context.Context, id chunkstore.ID, buf []byte, p pack.Part) (plain []byte, whole bool, err error) {
	err = h.do(ctx, func(a chunkstore.API) error {
		plain, whole, err = a.(chunkstore.PartGetter).GetPart(ctx, id, buf, p) // both incarnations are
		return err
	})
	return plain, whole, err
}

// Root implements chunkstore.Roots.
func (h *Handle) Root(ctx context.Context, name string) (body []byte, err error) {
	err = h.do(ctx, func(a chunkstore.API) error { body, err = a.Root(ctx, name); return err })
	return body, err
}

// Roots implements chunkstore.Roots. When the owner is lost on the way it goes
// on behind the last root with the next one.
func (h *Handle) Roots(ctx context.Context, prefix, from string, fn func(name string, body []byte) bool) error {
	return h.do(ctx, func(a chunkstore.API) error {
		return a.Roots(ctx, prefix, from, func(name string, body []byte) bool {
			from = name + "\x00"
			return fn(name, body)
		})
	})
}

// Stats implements chunkstore.API.
func (h *Handle) Stats(ctx context.Context) (st chunkstore.Stats, err error) {
	err = h.do(ctx, func(a chunkstore.API) error { st, err = a.Stats(ctx); return err })
	return st, err
}

// Begin implements chunkstore.API. The session's operations fail with
// ErrOwnerLost when its owner is lost, and with ErrClosed after Close.
func (h *Handle) Begin(ctx context.Context, what string) (s chunkstore.Session, err error) {
	err = h.do(ctx, func(a chunkstore.API) error { s, err = a.Begin(ctx, what); return err })
	return s, err
}

// Handle lets the owner answer requests of the upper floors; pattern is as for
// http.ServeMux and its path begins with /v1/x/. They are answered while this
// process owns the store, by it alone. It panics where the pattern is bad or
// taken.
func (h *Handle) Handle(pattern string, handler http.Handler) { h.extra.Handle(pattern, handler) }

// Call posts in, as JSON, to a path that the store's owner handles (see
// Handle) and reads the answer's JSON into out, if that is not nil. In and
// answer have at most 16 MiB. When the owner is lost meanwhile the next one is
// asked, so a handler must bear to be asked twice. The error wraps ErrNotFound
// when the owner has no such path.
func (h *Handle) Call(ctx context.Context, path string, in, out any) error {
	return h.do(ctx, func(a chunkstore.API) error {
		if c, ok := a.(*client); ok {
			return c.call(ctx, path, in, out)
		}
		return callLocal(ctx, a.(*localAPI).inc.own.srv.http.Handler, path, in, out)
	})
}

// callLocal is call without a socket, for the owner itself.
func callLocal(ctx context.Context, to http.Handler, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://store"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call %s: %w", path, err)
	}
	w := &answer{head: http.Header{}, code: http.StatusOK}
	to.ServeHTTP(w, req)
	if w.code != http.StatusOK {
		return answerError(w.code, w.head, path, w.body.Bytes())
	}
	if out == nil {
		return nil
	}
	return parseAnswer(path, w.body.Bytes(), out)
}

// answer is a response in memory.
type answer struct {
	head http.Header
	code int
	body bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.head }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// answerError is the error that an answer other than 200 stands for.
func answerError(code int, head http.Header, path string, body []byte) error {
	switch {
	case head.Get("Content-Type") == "application/json":
		return parseError(body)
	case code == http.StatusNotFound:
		return fmt.Errorf("the store's owner knows no %s: %w", path, chunkstore.ErrNotFound)
	}
	return fmt.Errorf("the store's owner answers %s: %d %s", path, code, bytes.TrimSpace(body[:min(len(body), 200)]))
}

// Fail answers a request of the upper floors with err, which keeps its
// identity on the way to the caller of Call.
func Fail(w http.ResponseWriter, err error) { fail(w, err) }
