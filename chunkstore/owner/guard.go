package owner

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
)

// guard lets through who may, answers a panic with an error and counts.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.requests.enter() {
			fail(w, errClosing)
			return
		}
		defer s.requests.leave()
		sent := &sentWriter{ResponseWriter: w}
		defer s.rescue(sent, r)
		if err := peerError(r); err != nil {
			fail(w, err)
			return
		}
		if s.starting() && r.URL.Path != "/v1/info" {
			fail(w, errStarting)
			return
		}
		next.ServeHTTP(sent, r)
	})
}

// rescue turns a panic into that client's error; the owner goes on.
func (s *server) rescue(w *sentWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.Error("request failed by a bug", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler) // the client must see that the answer is cut off
	}
	fail(w, panicError(p))
}

func panicError(p any) error {
	return fmt.Errorf("the store's owner met a bug (see its log): %v", p)
}

func (s *server) starting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store == nil
}

// sentWriter knows whether an answer has begun.
type sentWriter struct {
	http.ResponseWriter
	begun bool
}

func (w *sentWriter) WriteHeader(code int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(code)
}

func (w *sentWriter) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *sentWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type peerKey struct{}

// withPeer notes in a connection's context why its peer may not use it.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	cred, err := peer(c)
	if err == nil && !trusted(cred.Uid) {
		err = fmt.Errorf("%w: user %d may not use the store of another user", errForbidden, cred.Uid)
	}
	return context.WithValue(ctx, peerKey{}, err)
}

func peerError(r *http.Request) error {
	err, _ := r.Context().Value(peerKey{}).(error)
	return err
}
