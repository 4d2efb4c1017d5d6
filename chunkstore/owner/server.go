package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"holdfast/chunkstore"
)

const (
	// bodyBudget bounds the bodies of puts that the owner holds at a time.
	bodyBudget = 32 << 20
	// bodyTimeout is how long a client may take to send a body. Who stops in
	// the middle would keep others from the budget.
	bodyTimeout = 30 * time.Second
	flushTime   = 100 * time.Millisecond
)

// local is an open store in this process: *chunkstore.Store.
type local interface {
	chunkstore.API
	// ReadRecord returns the stored bytes of chunk id's record, of which no
	// more than the header is checked. It uses buf's capacity if it suffices.
	ReadRecord(ctx context.Context, id chunkstore.ID, buf []byte) ([]byte, error)
	Close() error
}

// server gives the clients of a store what they ask for. It listens before the
// store is open, so that clients can tell an owner at work from a dead one.
//
// Own memory: bodyBudget for puts, a record for each get under way, a page for
// each list of roots under way, and some 20 KiB a connection.
type server struct {
	log    *slog.Logger
	who    holder
	info   chunkstore.Info
	extra  http.Handler // what is not under protocol
	http   *http.Server
	base   context.Context // of all requests
	cancel context.CancelFunc
	bodies *semaphore.Weighted
	served chan struct{} // closed when the listener's loop has ended

	requests gate // all requests, those that hold a session too
	sessions gate // open sessions

	mu     sync.Mutex // guards what follows
	store  local      // nil: starting
	ending bool
	open   map[string]*serverSession // by id
}

func newServer(log *slog.Logger, who holder, info chunkstore.Info, extra http.Handler) *server {
	s := &server{
		log: log, who: who, info: info, extra: extra,
		bodies: semaphore.NewWeighted(bodyBudget),
		served: make(chan struct{}), open: map[string]*serverSession{},
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: bodyTimeout,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.base },
		ConnContext:       withPeer,
	}
	return s
}

func (s *server) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/info", s.getInfo)
	m.HandleFunc("GET /v1/stats", s.getStats)
	m.HandleFunc("GET /v1/root", s.getRoot)
	m.HandleFunc("GET /v1/roots", s.getRoots)
	m.HandleFunc("POST /v1/get", s.get)
	m.HandleFunc("POST /v1/session", s.begin)
	m.HandleFunc("POST /v1/session/{id}/has", s.inSession(s.has))
	m.HandleFunc("POST /v1/session/{id}/put", s.inSession(s.put))
	m.HandleFunc("POST /v1/session/{id}/commit", s.inSession(s.commit))
	m.HandleFunc("POST /v1/session/{id}/end", s.end)
	m.Handle("/", s.extra)
	return m
}

// serve answers on l until close.
func (s *server) serve(l net.Listener) {
	defer close(s.served)
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("store's socket failed; other processes can't reach the store through this one", "error", err)
	}
}

// ready lets the clients in.
func (s *server) ready(store local) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
}

// close lets open sessions end and requests finish for up to grace, cuts off
// the rest, and returns when nobody uses the store any more.
func (s *server) close(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	select {
	case <-s.sessions.shut():
	case <-ctx.Done():
	}
	s.endSessions()
	select {
	case <-s.requests.shut():
	case <-ctx.Done():
		s.log.Info("cutting off clients that are still busy", "grace", grace)
	}
	s.flush()
	s.cutOff()
	<-s.requests.shut()
}

// cutOff ends every request and connection.
func (s *server) cutOff() {
	s.cancel()
	s.http.Close()
}

// flush gives the last answers, whose handlers have returned, the moment that
// they need to be sent. Shutdown alone would wait seconds for connections on
// which nothing was ever asked.
func (s *server) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	s.http.Shutdown(ctx)
}

// fail answers with err.
func fail(w http.ResponseWriter, err error) {
	e := toWire(err)
	b, jerr := json.Marshal(e)
	if jerr != nil {
		b = []byte(`{"message":"error without words"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status())
	w.Write(b)
}

// failed answers with err, if there is one. That the owner's own end cancelled
// the request must not look like the client's context.
func (s *server) failed(w http.ResponseWriter, err error) bool {
	if err == nil {
		return false
	}
	fail(w, s.ownError(err))
	return true
}

func (s *server) ownError(err error) error {
	if s.base.Err() != nil && errors.Is(err, context.Canceled) {
		return errClosing
	}
	return err
}

func reply(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

// readBody reads a body of at most most bytes into buf's capacity.
func readBody(w http.ResponseWriter, r *http.Request, buf []byte, most int64) ([]byte, error) {
	n := r.ContentLength
	if n < 0 || n > most {
		return nil, fmt.Errorf("%w: body of %d bytes, want 0 to %d", errBadRequest, n, most)
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	ctl := http.NewResponseController(w)
	if err := ctl.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if _, err := io.ReadFull(r.Body, buf); err != nil {
		return nil, fmt.Errorf("%w: read body: %w", errBadRequest, err)
	}
	// The server watches the connection for its end from now on, without limit.
	return buf, ctl.SetReadDeadline(time.Time{})
}

func (s *server) getInfo(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	state := stateServing
	switch {
	case s.ending:
		state = stateClosing
	case s.store == nil:
		state = stateStarting
	}
	s.mu.Unlock()
	reply(w, hello{
		Protocol: protocol, StoreID: s.info.StoreID, State: state,
		PID: s.who.PID, Command: strings.ToValidUTF8(s.who.Command, "?"), Since: s.who.Since,
	})
}

func (s *server) getStats(w http.ResponseWriter, r *http.Request) {
	st, err := s.store.Stats(r.Context())
	if !s.failed(w, err) {
		reply(w, st)
	}
}
