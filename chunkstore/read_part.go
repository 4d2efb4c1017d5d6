package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

// partBuffers holds buffers for what is read of records for parts, and for the header
// of what lies behind.
var partBuffers = sync.Pool{New: func() any { b := media.AloneBuffer(pack.MaxRecord + pack.RecordHeaderLen); return &b }}

var _ PartGetter = (*Store)(nil)

// GetPart implements PartGetter. Of a record of several frames that nobody's reads
// around it have brought into memory, it reads the beginning that probably holds
// the part, and past the page cache. Where the chunk lies it mostly knows without the
// index; what is not proved there is looked up.
func (s *Store) GetPart(ctx context.Context, id ID, buf []byte, p pack.Part) (plain []byte, whole bool, err error) {
	s.activity.begin()
	defer s.activity.end()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	s.readsParts()
	b := partBuffers.Get().(*[]byte)
	defer partBuffers.Put(b)
	if f, ok := s.hold(id); ok {
		defer f.in.refs.RUnlock()
		rec, err := f.in.ReadRecord(f.entry, *b)
		if err != nil {
			return nil, false, fmt.Errorf("chunk %v: %w", id, err)
		}
		return s.codec.DecodePart(buf, rec, id, p)
	}
	was, known := s.places.find(id)
	if known {
		if plain, whole, err = s.partAt(id, was, *b, buf, p); err == nil {
			return plain, whole, nil
		}
	}
	at, ok, lerr := s.lookup(id)
	switch {
	case lerr != nil || !ok:
		return nil, false, errors.Join(lerr, notFound(id, ok))
	case known && at == was:
		return nil, false, err
	}
	s.places.note(id, at)
	return s.partAt(id, at, *b, buf, p)
}

func notFound(id ID, found bool) error {
	if found {
		return nil
	}
	return fmt.Errorf("chunk %v: %w", id, ErrNotFound)
}

// partAt reads and decodes a part of what should be a chunk's record.
func (s *Store) partAt(id ID, at place, stored, buf []byte, p pack.Part) (plain []byte, whole bool, err error) {
	f, err := s.files.open(at.pack)
	if err != nil {
		return nil, false, damageAt(pack.Unreadable, id, at, err)
	}
	defer s.files.done(f)
	n := s.codec.PrefixOf(int(at.payloadLen), p)
	for {
		rec, err := s.readStored(f, at, stored, n, p)
		if err != nil {
			return nil, false, damageAt(pack.Unreadable, id, at, err)
		}
		plain, whole, err = s.codec.DecodePart(buf, rec, id, p)
		if err == nil || n == at.recordLen() || !errors.Is(err, pack.ErrCutOff) {
			return plain, whole, err
		}
		n = at.recordLen()
	}
}

// readStored reads the first n bytes of a record, fewer where the pack ends. Whoever
// wants all of a chunk of several frames is probably about to read on, which is what
// the page cache and its reading ahead are for.
func (s *Store) readStored(f *packFile, at place, buf []byte, n int, p pack.Part) ([]byte, error) {
	if a, ok := f.File.(media.AloneReader); ok && !p.Along && p.To-p.From <= s.codec.FrameSize() && s.codec.FrameSize() < pack.MaxChunk {
		return a.ReadAlone(buf, int64(at.offset), n)
	}
	all := n
	if n == at.recordLen() {
		all += pack.RecordHeaderLen // who takes all of it wants what lies behind next
	}
	got, err := f.ReadAt(buf[:all], int64(at.offset))
	if errors.Is(err, io.EOF) || got >= n {
		err = nil
	}
	if got > n {
		s.places.noteBehind(at, buf[n:got])
	}
	return buf[:min(n, got)], err
}
