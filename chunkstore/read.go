package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"holdfast/chunkstore/pack"
)

// recordBuffers holds buffers for stored records between their read and their
// decoding.
var recordBuffers = sync.Pool{New: func() any { b := make([]byte, 0, pack.MaxRecord); return &b }}

// Get implements Getter.
func (s *Store) Get(ctx context.Context, id ID, buf []byte) ([]byte, error) {
	s.activity.begin()
	defer s.activity.end()
	return s.get(ctx, id, buf)
}

func (s *Store) get(ctx context.Context, id ID, buf []byte) ([]byte, error) {
	rb := recordBuffers.Get().(*[]byte)
	defer recordBuffers.Put(rb)
	rec, at, err := s.readRecord(ctx, id, *rb)
	if err == nil {
		plain, derr := s.codec.Decode(buf, rec, id)
		if derr == nil {
			return plain, nil
		}
		err = damageAt(pack.Corrupt, id, at, derr)
	}
	_, plain, err := s.getDamaged(ctx, err, id, at, buf)
	return plain, err
}

// ReadRecord returns a record of chunk id whose stored bytes fit their
// checksum, for a reader that decodes and proves it itself. It uses buf's
// capacity when that suffices; errors are Get's.
func (s *Store) ReadRecord(ctx context.Context, id ID, buf []byte) ([]byte, error) {
	s.activity.begin()
	defer s.activity.end()
	rec, at, err := s.readRecord(ctx, id, buf)
	if err == nil {
		if _, err = pack.CheckStored(rec); err == nil {
			return rec, nil
		}
		err = damageAt(pack.Corrupt, id, at, err)
	}
	rec, _, err = s.getDamaged(ctx, err, id, at, nil)
	return rec, err
}

func (s *Store) readRecord(ctx context.Context, id ID, buf []byte) ([]byte, place, error) {
	if err := ctx.Err(); err != nil {
		return nil, place{}, err
	}
	if f, ok := s.hold(id); ok {
		defer f.in.refs.RUnlock()
		at := place{f.in.Header().Pack, f.entry.Offset, f.entry.PayloadLen}
		rec, err := f.in.ReadRecord(f.entry, buf)
		if err != nil {
			return nil, at, damageAt(pack.Unreadable, id, at, err)
		}
		return rec, at, nil
	}
	return s.readPublished(id, buf)
}

// readPublished reads a record from where the index has it. A prune or a repair
// may move it between the look-up and the read: then it is looked up again.
func (s *Store) readPublished(id ID, buf []byte) ([]byte, place, error) {
	var was place
	for {
		at, ok, err := s.lookup(id)
		if err != nil {
			return nil, at, err
		}
		if !ok {
			return nil, at, fmt.Errorf("chunk %v: %w", id, ErrNotFound)
		}
		rec, err := s.readPlace(id, at, buf)
		if err == nil || at == was {
			return rec, at, err
		}
		was = at // damage is damage if it is in the same place twice
	}
}

// hold returns where an in-flight chunk lies and keeps its pack open until
// refs.RUnlock.
func (s *Store) hold(id ID) (inflight, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.inflight[id]
	if ok {
		f.in.refs.RLock()
	}
	return f, ok
}

// readPlace reads a record of a published pack.
func (s *Store) readPlace(id ID, at place, buf []byte) ([]byte, error) {
	return s.readPlaceBy(id, at, buf, nil)
}

// readPlaceBy is readPlace with a reader, if it is not nil, before the file.
func (s *Store) readPlaceBy(id ID, at place, buf []byte, reader func(io.ReaderAt) io.ReaderAt) ([]byte, error) {
	f, err := s.files.open(at.pack)
	if err != nil {
		kind := pack.Unreadable
		if errors.Is(err, fs.ErrNotExist) {
			kind = pack.Missing
		}
		return nil, damageAt(kind, id, at, err)
	}
	defer s.files.done(f)
	n := at.recordLen()
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	got, err := readBy(reader, f).ReadAt(buf, int64(at.offset))
	switch {
	case got == n:
		return buf, nil
	case errors.Is(err, io.EOF):
		return nil, damageAt(pack.Missing, id, at, fmt.Errorf("the pack ends at byte %d", int64(at.offset)+int64(got)))
	case err == nil:
		err = fmt.Errorf("only %d of %d bytes came, without an error", got, n)
	}
	return nil, damageAt(pack.Unreadable, id, at, err)
}

// damageAt makes the error of a chunk that did not come back.
func damageAt(kind pack.DamageKind, id ID, at place, err error) error {
	return &pack.Damage{Kind: kind, ID: id, Pack: at.pack, Offset: int64(at.offset), Length: at.recordLen(), Err: err}
}

// has reports whether a chunk can be read back now. One that is known to be
// corrupt or missing can't.
func (s *Store) has(id ID) (bool, error) {
	if s.isInflight(id) {
		return true, nil
	}
	return s.hasPublished(id)
}

// hasPublished is has for chunks that the index knows.
func (s *Store) hasPublished(id ID) (bool, error) {
	if s.surelyNew(id) {
		return false, nil
	}
	at, ok, err := s.lookup(id)
	if err == nil && !ok {
		s.missed()
	}
	if err != nil || !ok || s.isGone(at.pack) {
		return false, err
	}
	lost, err := s.Damaged(id)
	return !lost, err
}
