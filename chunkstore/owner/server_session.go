package owner

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"

	"holdfast/chunkstore"
)

// putBufs holds buffers for bodies of puts.
var putBufs = sync.Pool{New: func() any { return new([]byte) }}

// serverSession is a client's session. It ends when the client says so, when
// the request that began it ends, or when the owner leaves.
type serverSession struct {
	chunkstore.Session
	using gate          // requests in it
	ended chan struct{} // closed after Close of the session
	once  sync.Once
	err   error // of that Close; valid when ended is closed
}

// end waits for the requests in the session and closes it, once.
func (ss *serverSession) end() error {
	ss.once.Do(func() {
		defer close(ss.ended)
		<-ss.using.shut()
		ss.err = ss.Session.Close()
	})
	<-ss.ended
	return ss.err
}

// begin begins a session and holds the request as long as it lasts.
func (s *server) begin(w http.ResponseWriter, r *http.Request) {
	what := r.URL.Query().Get("what")
	if len(what) > maxWhat {
		what = what[:maxWhat]
	}
	if !s.sessions.enter() {
		fail(w, errClosing)
		return
	}
	defer s.sessions.leave()
	sess, err := s.store.Begin(r.Context(), what)
	if s.failed(w, err) {
		return
	}
	ss := &serverSession{Session: sess, ended: make(chan struct{})}
	id := rand.Text()
	s.mu.Lock()
	s.open[id] = ss
	s.mu.Unlock()
	defer s.forget(id, ss)
	reply(w, struct {
		Session string `json:"session"`
	}{id})
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-ss.ended:
	}
}

// forget ends a session whose request is over.
func (s *server) forget(id string, ss *serverSession) {
	s.mu.Lock()
	delete(s.open, id)
	s.mu.Unlock()
	if err := ss.end(); err != nil {
		s.log.Warn("end of a client's session failed", "error", err)
	}
}

// endSessions ends all of them. No new one can begin.
func (s *server) endSessions() {
	s.mu.Lock()
	all := make([]*serverSession, 0, len(s.open))
	for _, ss := range s.open {
		all = append(all, ss)
	}
	s.mu.Unlock()
	s.cutOffIfBusy(all)
	for _, ss := range all {
		ss.end()
	}
}

// cutOffIfBusy breaks the clients' connections where a session is in use
// though the grace is over. The context alone would not reach a request that
// waits for the rest of its body.
func (s *server) cutOffIfBusy(all []*serverSession) {
	for _, ss := range all {
		select {
		case <-ss.using.shut():
		default:
			s.cutOff()
			return
		}
	}
}

func (s *server) session(r *http.Request) (*serverSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss := s.open[r.PathValue("id")]; ss != nil {
		return ss, nil
	}
	return nil, errNoSession
}

// inSession answers a request in a session, which can't end meanwhile.
func (s *server) inSession(do func(*serverSession, http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ss, err := s.session(r)
		if s.failed(w, err) {
			return
		}
		if !ss.using.enter() {
			fail(w, errNoSession)
			return
		}
		defer ss.using.leave()
		s.failed(w, do(ss, w, r))
	}
}

func (s *server) has(ss *serverSession, w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, nil, maxIDs*int64(idLen))
	if err != nil {
		return err
	}
	ids, err := parseIDs(body, maxIDs)
	if err != nil {
		return err
	}
	have := make([]bool, len(ids))
	if err := ss.Has(r.Context(), ids, have); err != nil {
		return err
	}
	out := make([]byte, len(have))
	for i, h := range have {
		if h {
			out[i] = 1
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(out)
	return nil
}

func (s *server) put(ss *serverSession, w http.ResponseWriter, r *http.Request) error {
	size := r.ContentLength
	if size < 0 || size > maxBody {
		return fmt.Errorf("%w: put of %d bytes, want 0 to %d", errBadRequest, size, maxBody)
	}
	if err := s.bodies.Acquire(r.Context(), size); err != nil {
		return err
	}
	defer s.bodies.Release(size)
	buf := putBufs.Get().(*[]byte)
	defer putBufs.Put(buf)
	body, err := readBody(w, r, *buf, maxBody)
	if err != nil {
		return err
	}
	*buf = body
	recs, err := parseRecords(body)
	if err != nil {
		return err
	}
	res, err := ss.Put(r.Context(), recs)
	if err != nil {
		return err
	}
	reply(w, res)
	return nil
}

func (s *server) commit(ss *serverSession, w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, nil, chunkstore.MaxRootBody)
	if err != nil {
		return err
	}
	if err := ss.Commit(r.Context(), r.URL.Query().Get("name"), body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *server) end(w http.ResponseWriter, r *http.Request) {
	ss, err := s.session(r)
	if s.failed(w, err) || s.failed(w, ss.end()) {
		return
	}
	w.WriteHeader(http.StatusOK)
}
