package chunkstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

// maxSealing is how many packs of a class may be on their way to the disk
// while the next one fills. Put waits beyond that.
const maxSealing = 2

// roomStep is how much is written between two looks at the disk's free space.
const roomStep = 1 << 20

// writer fills the packs of one class.
type writer struct {
	store *Store
	class pack.Class
	slots chan struct{} // one for each pack being sealed

	mu      sync.Mutex  // guards what follows, and appends to active
	active  *openPack   // nil: none begun
	pending []*openPack // full ones, not yet durable and known
	looked  int64       // size of the active pack when it was last looked whether there is room
}

// openPack is a pack that is written or sealed and not yet in the index.
type openPack struct {
	*pack.Writer
	up   media.Upload
	done chan struct{} // closed when it is durable and known, or lost
	err  error         // why it is lost; read after done
	refs sync.RWMutex  // read-held by readers, so that the file outlives them
}

// inflight is where a chunk lies that the index does not know yet.
type inflight struct {
	in    *openPack
	entry pack.Entry
}

func packName(n uint64) string { return fmt.Sprintf("%016x.pack", n) }

func newPackID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (s *Store) newPack(class pack.Class) (*openPack, error) {
	n := newPackID()
	up, err := s.media.Create(packName(n))
	if err != nil {
		return nil, err
	}
	return &openPack{Writer: pack.NewWriter(up, pack.Header{Pack: n, Store: s.cfg.storeID(), Class: class}, s.packOptions()), up: up, done: make(chan struct{})}, nil
}

// makePack is newPack for a pack that no writer fills. The caller ends it with
// unmake.
func (s *Store) makePack(class pack.Class) (*openPack, error) {
	p, err := s.newPack(class)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making[p.Header().Pack] = true
	return p, nil
}

func (s *Store) unmake(p *openPack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.making, p.Header().Pack)
}

func (s *Store) packOptions() pack.WriterOptions {
	return pack.WriterOptions{NoParity: s.cfg.NoParity, Format: s.cfg.FormatVersion}
}

// put appends the records that are not there yet.
func (w *writer) put(ctx context.Context, recs []pack.Record) (res PutResult, err error) {
	for _, rec := range recs {
		// Outside the lock, where most are found.
		if ok, err := w.store.claimPublished(rec.ID); err != nil || ok {
			if err != nil {
				return res, err
			}
			continue
		}
		full, err := w.append(rec, &res)
		if errors.Is(err, ErrFull) {
			// Now there is room for the end of what is begun.
			return res, errors.Join(err, w.drain())
		}
		if err != nil {
			return res, err
		}
		if full != nil {
			if err := w.seal(ctx, full); err != nil {
				return res, err
			}
		}
	}
	return res, nil
}

// append adds one record, and returns the pack that it filled, if it did.
func (w *writer) append(rec pack.Record, res *PutResult) (*openPack, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// In this order: a chunk enters the index before it leaves those in flight.
	if w.store.isInflight(rec.ID) {
		return nil, nil
	}
	if ok, err := w.store.claimPublished(rec.ID); err != nil || ok {
		return nil, err
	}
	if err := w.room(); err != nil {
		return nil, err
	}
	if w.active == nil {
		p, err := w.store.newPack(w.class)
		if err != nil {
			return nil, err
		}
		w.active = p
	}
	e, err := w.active.Append(rec)
	if err != nil {
		full := w.retire()
		w.store.lose(full, err)
		w.finished(full, err)
		return nil, err
	}
	w.store.mu.Lock()
	w.store.inflight[rec.ID] = inflight{w.active, e}
	w.store.mu.Unlock()
	*res = res.Add(PutResult{Records: 1, PlainBytes: int64(rec.PlainLen), StoredBytes: int64(len(rec.Bytes))})
	if w.active.Size() < w.store.size {
		return nil, nil
	}
	return w.retire(), nil
}

// room looks now and then whether the disk has room for more. The caller holds
// mu.
func (w *writer) room() error {
	size := int64(0)
	if w.active != nil {
		size = w.active.Size()
	}
	if w.active != nil && size >= w.looked && size < w.looked+roomStep {
		return nil
	}
	w.looked = size
	return w.store.roomFor((size + int64(len(w.pending))*w.store.size) / tailShare)
}

// retire moves the active pack to the pending ones. The caller holds mu and
// sees to it that the pack is sealed.
func (w *writer) retire() *openPack {
	p := w.active
	w.active = nil
	w.pending = append(w.pending, p)
	return p
}

// finished ends a pack's time among the pending. The caller holds mu.
func (w *writer) finished(p *openPack, err error) {
	w.pending = slices.DeleteFunc(w.pending, func(q *openPack) bool { return q == p })
	p.err = err
	close(p.done)
}

func (s *Store) isInflight(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.inflight[id]
	return ok
}

// seal makes a retired pack durable and known, in the background once a slot is
// free; when the context ends first, here and now, so that no pack is left half
// way.
func (w *writer) seal(ctx context.Context, p *openPack) error {
	select {
	case w.slots <- struct{}{}:
		go func() {
			defer func() { <-w.slots }()
			w.finish(p, nil)
		}()
		return nil
	case <-ctx.Done():
		w.finish(p, nil)
		return ctx.Err()
	}
}

// finish seals a retired pack with the roots in it, and tells those who wait.
func (w *writer) finish(p *openPack, roots []root) error {
	err := w.store.sealPack(p, roots)
	if err != nil {
		w.store.lose(p, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finished(p, err)
	return err
}

// drain makes every record that was appended before it durable and known.
func (w *writer) drain() error {
	w.mu.Lock()
	waitFor := slices.Clone(w.pending)
	var p *openPack
	if w.active != nil {
		p = w.retire()
	}
	w.mu.Unlock()
	var err error
	if p != nil {
		err = w.finish(p, nil)
	}
	for _, q := range waitFor {
		<-q.done
		err = errors.Join(err, q.err)
	}
	return err
}

// sealPack finishes a pack, makes it durable, puts it into the index together
// with roots, and forgets its chunks' in-flight places. Failed, it leaves the
// pack under unfinished/ for the next Open.
func (s *Store) sealPack(p *openPack, roots []root) error {
	if err := p.Seal(); err != nil {
		return err
	}
	if err := p.up.Commit(); err != nil {
		return err
	}
	h, entries := p.Header(), p.Entries()
	if err := s.publish(h, entries, roots, p.FileSize()); err != nil {
		return err
	}
	s.release(p)
	return nil
}

// release drops the in-flight places of a pack that the index now has, or that
// is lost, and closes it when its last reader is done.
func (s *Store) release(p *openPack) {
	s.mu.Lock()
	s.forget(p)
	s.mu.Unlock()
	s.closePack(p)
}

// forget drops a pack's in-flight places. The caller holds mu.
func (s *Store) forget(p *openPack) {
	for _, e := range p.Entries() {
		if f, ok := s.inflight[e.ID]; ok && f.in == p {
			delete(s.inflight, e.ID)
		}
	}
}

// closePack closes a pack that was forgotten when its last reader is done.
func (s *Store) closePack(p *openPack) {
	p.refs.Lock()
	defer p.refs.Unlock()
	if err := p.up.Close(); err != nil {
		s.log.Warn("close pack", "pack", packName(p.Header().Pack), "err", err)
	}
}

// lose records that a pack could not be made durable. Every session that is
// open now may rely on a chunk in it, so none of them may commit.
func (s *Store) lose(p *openPack, err error) {
	s.log.Error("a pack could not be written; captures under way will fail", "pack", packName(p.Header().Pack), "err", err)
	s.mu.Lock()
	s.lost++
	s.lostErr = err
	s.forget(p) // in the same moment: who begins now may commit, and must not be told that it has these chunks
	s.mu.Unlock()
	s.closePack(p)
}
