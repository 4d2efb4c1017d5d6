package capture

import (
	"context"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

// hookedStore is a store of whose sessions a test answers some calls; those that have no
// hook are the session's own.
type hookedStore struct {
	*chunkstore.Store
	has    func(ses chunkstore.Session, ctx context.Context, ids []pack.ID, have []bool) error
	put    func(ses chunkstore.Session, ctx context.Context, recs []pack.Record) (chunkstore.PutResult, error)
	commit func(ses chunkstore.Session, ctx context.Context, name string, body []byte) error
}

type hookedSession struct {
	chunkstore.Session
	s *hookedStore
}

func (s *hookedStore) Begin(ctx context.Context, what string) (chunkstore.Session, error) {
	ses, err := s.Store.Begin(ctx, what)
	return &hookedSession{ses, s}, err
}

func (h *hookedSession) Has(ctx context.Context, ids []pack.ID, have []bool) error {
	if h.s.has == nil {
		return h.Session.Has(ctx, ids, have)
	}
	return h.s.has(h.Session, ctx, ids, have)
}

func (h *hookedSession) Put(ctx context.Context, recs []pack.Record) (chunkstore.PutResult, error) {
	if h.s.put == nil {
		return h.Session.Put(ctx, recs)
	}
	return h.s.put(h.Session, ctx, recs)
}

func (h *hookedSession) Commit(ctx context.Context, name string, body []byte) error {
	if h.s.commit == nil {
		return h.Session.Commit(ctx, name, body)
	}
	return h.s.commit(h.Session, ctx, name, body)
}
