package chunkstore

import (
	"context"
	"errors"
	"fmt"

	"holdfast/chunkstore/pack"
)

// ErrSessionClosed says that a session was used after its end.
var ErrSessionClosed = errors.New("session is closed")

var errClosed = errors.New("store is closed")

// session is a Session of a *Store.
type session struct {
	*Store
	what   string // for messages
	number uint64 // sessions that began earlier have smaller ones
	lost   int    // the store's lost packs when it began
}

var _ Session = (*session)(nil)

// Begin implements API. what names the session in messages.
func (s *Store) Begin(_ context.Context, what string) (Session, error) {
	s.takeRoom()
	ses, err := s.begin(what)
	if err != nil {
		s.leaveRoom()
		return nil, err
	}
	return ses, nil
}

func (s *Store) begin(what string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("begin %s: %w", what, errClosed)
	}
	ses := &session{Store: s, what: what, number: s.begun, lost: s.lost}
	s.begun++
	s.sessions[ses] = true
	return ses, nil
}

// Has implements Chunks.
func (ses *session) Has(ctx context.Context, ids []ID, have []bool) error {
	if err := ses.check(ctx); err != nil {
		return err
	}
	for i, id := range ids {
		ok, err := ses.claim(id)
		if err != nil {
			return err
		}
		have[i] = ok
	}
	return nil
}

// Put implements Chunks.
func (ses *session) Put(ctx context.Context, recs []pack.Record) (PutResult, error) {
	if err := ses.check(ctx); err != nil {
		return PutResult{}, err
	}
	for _, rec := range recs {
		if !ses.canHold(rec) {
			return PutResult{}, fmt.Errorf("store chunks: %v is a record of format %d (%v), which a store of format %d does not hold", rec.ID, rec.Format(), rec.Codec(), ses.cfg.FormatVersion)
		}
	}
	var res PutResult
	for len(recs) > 0 {
		class, n := pack.ClassOf(recs[0].Kind), 1
		for n < len(recs) && pack.ClassOf(recs[n].Kind) == class {
			n++
		}
		r, err := ses.writers[class].put(ctx, recs[:n])
		res = res.Add(r)
		if err != nil {
			return res, fmt.Errorf("store chunks: %w", full(err))
		}
		recs = recs[n:]
	}
	return res, nil
}

// Commit implements Session.
func (ses *session) Commit(ctx context.Context, name string, body []byte) error {
	if err := ses.check(ctx); err != nil {
		return err
	}
	return full(ses.commit(ctx, name, body, ses.lost))
}

// Close implements Session.
func (ses *session) Close() error {
	if ses.end() {
		ses.leaveRoom()
	}
	return nil
}

// end reports whether the session was open.
func (ses *session) end() bool {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if !ses.sessions[ses] {
		return false
	}
	delete(ses.sessions, ses)
	close(ses.ended)
	ses.ended = make(chan struct{})
	return true
}

func (ses *session) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if !ses.sessions[ses] {
		return fmt.Errorf("%s: %w", ses.what, ErrSessionClosed)
	}
	return nil
}
