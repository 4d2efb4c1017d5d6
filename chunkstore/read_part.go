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

// partBuffers holds buffers for what is read of records for parts.
var partBuffers = sync.Pool{New: func() any { b := media.AloneBuffer(pack.MaxRecord); return &b }}

var _ PartGetter = (*Store)(nil)

// GetPart implements PartGetter. Of a record of several frames that nobody's reads
// around it have brought into memory, it reads the beginning that probably holds
// the part, and past the page cache.
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
	at, ok, err := s.lookup(id)
	if err != nil || !ok {
		return nil, false, errors.Join(err, notFound(id, ok))
	}
	f, err := s.files.open(at.pack)
	if err != nil {
		return nil, false, damageAt(pack.Unreadable, id, at, err)
	}
	defer s.files.done(f)
	return s.partOf(f, id, at, *b, buf, p)
}

func notFound(id ID, found bool) error {
	if found {
		return nil
	}
	return fmt.Errorf("chunk %v: %w", id, ErrNotFound)
}

// partOf reads and decodes a part of the record at a place of f.
func (s *Store) partOf(f *packFile, id ID, at place, stored, buf []byte, p pack.Part) (plain []byte, whole bool, err error) {
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
	if a, ok := f.File.(media.AloneReader); ok && p.To-p.From <= s.codec.FrameSize() && s.codec.FrameSize() < pack.MaxChunk {
		return a.ReadAlone(buf, int64(at.offset), n)
	}
	got, err := f.ReadAt(buf[:n], int64(at.offset))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return buf[:got], err
}
