package owner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// ownership is everything that an owner has: closed in the reverse order.
type ownership struct {
	lock  *lock
	dir   *storeDir
	srv   *server
	store local

	mu       sync.Mutex             // guards what follows
	sessions map[*localSession]bool // open ones of this process
}

// own makes this process the owner: listen, so that others see it coming, open
// the store, let them in.
func (h *Handle) own(lk *lock) (*incarnation, error) {
	o := &ownership{lock: lk, dir: h.dir, sessions: map[*localSession]bool{}}
	o.srv = newServer(h.opts.Log, h.who(), h.cfg.Info, h.extra)
	if l, err := listen(h.dir); err != nil {
		// A filesystem without sockets is no reason to keep the store shut.
		h.opts.Log.Warn("other processes can't use the store while this one does", "store", h.path, "error", err)
	} else {
		go o.srv.serve(l)
	}
	var err error
	if o.store, err = h.opts.open(h.path); err != nil {
		o.srv.close(0)
		return nil, errors.Join(err, o.leave())
	}
	o.srv.ready(o.store)
	inc := &incarnation{own: o}
	inc.API = &localAPI{API: o.store, inc: inc}
	return inc, nil
}

// close ends the service, then the store. left is closed when this process
// has no operation under way.
func (o *ownership) close(grace time.Duration, left <-chan struct{}) error {
	o.srv.close(grace)
	<-left
	err := o.endSessions()
	if cerr := o.store.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close store: %w", cerr))
	}
	return errors.Join(err, o.leave())
}

// leave removes the socket while the lock still says that it is ours.
func (o *ownership) leave() error {
	err := o.dir.remove(socketName)
	return errors.Join(err, o.lock.release())
}

func (o *ownership) endSessions() error {
	o.mu.Lock()
	all := make([]*localSession, 0, len(o.sessions))
	for s := range o.sessions {
		all = append(all, s)
	}
	o.mu.Unlock()
	var err error
	for _, s := range all {
		err = errors.Join(err, s.end())
	}
	return err
}

// localAPI is the store in this process, whose sessions end before the store
// does.
type localAPI struct {
	chunkstore.API
	inc *incarnation
}

// Begin implements chunkstore.API.
func (a *localAPI) Begin(ctx context.Context, what string) (chunkstore.Session, error) {
	s, err := a.API.Begin(ctx, what)
	if err != nil {
		return nil, err
	}
	ls := &localSession{Session: s, inc: a.inc}
	o := a.inc.own
	o.mu.Lock()
	o.sessions[ls] = true
	o.mu.Unlock()
	return ls, nil
}

// GetPart implements chunkstore.PartGetter.
func (a *localAPI) GetPart(ctx context.Context, id chunkstore.ID, buf []byte, p pack.Part) (plain []byte, whole bool, err error) {
	if g, ok := a.API.(chunkstore.PartGetter); ok {
		return g.GetPart(ctx, id, buf, p)
	}
	plain, err = a.Get(ctx, id, buf)
	return plain, true, err
}

// localSession is a session of the owner's own process. Each operation counts
// as one of the handle's, so that Close waits for it.
type localSession struct {
	chunkstore.Session
	inc  *incarnation
	once sync.Once
	err  error
}

func (s *localSession) do(op func() error) error {
	if !s.inc.ops.enter() {
		return ErrClosed
	}
	defer s.inc.ops.leave()
	return op()
}

// Get implements chunkstore.Getter.
func (s *localSession) Get(ctx context.Context, id chunkstore.ID, buf []byte) (plain []byte, err error) {
	err = s.do(func() error { plain, err = s.Session.Get(ctx, id, buf); return err })
	return plain, err
}

// Has implements chunkstore.Chunks.
func (s *localSession) Has(ctx context.Context, ids []chunkstore.ID, have []bool) error {
	return s.do(func() error { return s.Session.Has(ctx, ids, have) })
}

// Put implements chunkstore.Chunks.
func (s *localSession) Put(ctx context.Context, recs []pack.Record) (res chunkstore.PutResult, err error) {
	err = s.do(func() error { res, err = s.Session.Put(ctx, recs); return err })
	return res, err
}

// Commit implements chunkstore.Session.
func (s *localSession) Commit(ctx context.Context, name string, body []byte) error {
	return s.do(func() error { return s.Session.Commit(ctx, name, body) })
}

// Close implements chunkstore.Session.
func (s *localSession) Close() error { return s.end() }

func (s *localSession) end() error {
	s.once.Do(func() {
		o := s.inc.own
		o.mu.Lock()
		delete(o.sessions, s)
		o.mu.Unlock()
		s.err = s.Session.Close()
	})
	return s.err
}
