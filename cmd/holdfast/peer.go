package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/owner"
	"holdfast/heal"
)

// peerIdle is how long another store stays open after its last use: while it
// is, this process owns it, unless another does.
const peerIdle = 20 * time.Second

// peer is another store of the same key: a replica, or the origin of one. It is
// opened when it is needed, as its owner or through the process that owns it.
type peer struct {
	opts    common // Store is the peer's directory
	storeID string // "": any

	mu     sync.Mutex // guards what follows
	h      *owner.Handle
	users  int
	idle   *time.Timer
	closed bool
}

var _ chunkstore.Donor = (*peer)(nil)

func newPeer(opts common, path, storeID string) *peer {
	opts.Store = path
	return &peer{opts: opts, storeID: storeID}
}

// Name implements chunkstore.Donor.
func (p *peer) Name() string { return p.opts.Store }

// OwnRecords implements chunkstore.Donor.
func (p *peer) OwnRecords(ctx context.Context, ids []chunkstore.ID) (recs [][]byte, err error) {
	err = p.with(ctx, func(h peerStore) error {
		recs, err = h.OwnRecords(ctx, ids)
		return err
	})
	return recs, err
}

// with opens the store, if it is not open, for the time of fn.
func (p *peer) with(ctx context.Context, fn func(peerStore) error) error {
	h, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer p.leave()
	return fn(peerStore{h})
}

func (p *peer) enter(ctx context.Context) (*owner.Handle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, owner.ErrClosed
	}
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
	if p.h == nil {
		cfg, err := chunkstore.ReadConfig(p.opts.Store)
		if err != nil {
			return nil, err
		}
		if p.storeID != "" && cfg.StoreID != p.storeID {
			return nil, fmt.Errorf("another store lies in %s now, %s instead of %s", p.opts.Store, cfg.StoreID, p.storeID)
		}
		if p.h, err = openStore(ctx, p.opts); err != nil {
			return nil, err
		}
	}
	p.users++
	return p.h, nil
}

func (p *peer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users == 0 && !p.closed {
		p.idle = time.AfterFunc(peerIdle, p.rest)
	}
}

// rest closes the store when nobody has used it for a while.
func (p *peer) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 {
		p.drop() //nolint:errcheck // it is logged
	}
}

// drop closes the store. The caller holds mu.
func (p *peer) drop() error {
	if p.h == nil {
		return nil
	}
	err := p.h.Close()
	if err != nil {
		p.opts.Log.Warn("leave a replica", "replica", p.opts.Store, "err", err)
	}
	p.h = nil
	return err
}

// Close lets go of the store; what uses it fails.
func (p *peer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.idle != nil {
		p.idle.Stop()
	}
	return p.drop()
}

// peerStore is an open peer as versions are copied to it.
type peerStore struct{ *owner.Handle }

var _ heal.Replica = peerStore{}

// wireRecords asks for records, and answers: a record each, null where there is
// none.
type wireRecords struct {
	IDs     [][]byte `json:"ids,omitempty"`
	Records [][]byte `json:"records,omitempty"`
}

// OwnRecords implements heal.Replica.
func (h peerStore) OwnRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error) {
	if s := h.Local(); s != nil {
		return s.OwnRecords(ctx, ids)
	}
	var ask, got wireRecords
	for i := range ids {
		ask.IDs = append(ask.IDs, ids[i][:])
	}
	if err := h.Call(ctx, pathRecords, ask, &got); err != nil {
		return nil, err
	}
	return got.Records, nil
}

// StoredRecords implements heal.Replica.
func (h peerStore) StoredRecords(ctx context.Context, ids []chunkstore.ID) ([][]byte, error) {
	if s := h.Local(); s != nil {
		return s.StoredRecords(ctx, ids)
	}
	return h.OwnRecords(ctx, ids)
}

// Sync implements heal.Replica.
func (h peerStore) Sync(ctx context.Context) error {
	return h.Call(ctx, pathSync, struct{}{}, nil)
}

// servePeers lets the owner answer other stores' owners.
func servePeers(h *owner.Handle) {
	h.Handle("POST "+pathRecords, answering(h, func(ctx context.Context, s *chunkstore.Store, in wireRecords) (any, error) {
		if len(in.IDs) > chunkstore.MaxRecords {
			return nil, errors.New("too many chunks at once")
		}
		ids := make([]chunkstore.ID, len(in.IDs))
		for i, b := range in.IDs {
			if copy(ids[i][:], b) != len(ids[i]) || len(b) != len(ids[i]) {
				return nil, fmt.Errorf("chunk id of %d bytes", len(b))
			}
		}
		recs, err := s.OwnRecords(ctx, ids)
		return wireRecords{Records: recs}, err
	}))
	h.Handle("POST "+pathSync, answering(h, func(ctx context.Context, s *chunkstore.Store, _ struct{}) (any, error) {
		return struct{}{}, s.Sync(ctx)
	}))
	h.Handle("POST "+pathOrigin, answering(h, func(_ context.Context, s *chunkstore.Store, in chunkstore.Replica) (any, error) {
		known, err := s.Replicas()
		if err != nil {
			return nil, err
		}
		for _, r := range known {
			if r.StoreID == in.StoreID && r.Path == in.Path {
				return struct{}{}, nil // whatever it is to this store, it is asked
			}
		}
		return struct{}{}, s.AddReplica(in)
	}))
}
