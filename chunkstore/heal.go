package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/chunkstore/pack"
)

// healRecord brings a damaged record of a published pack back from the pack's
// parity and returns it with its plain bytes, proved. Nothing is written: the
// pack stays as it is until a repair.
func (s *Store) healRecord(id ID, at place, buf []byte) (rec, plain []byte, err error) {
	rec, plain, blocks, err := s.fromParity(id, at, buf, nil)
	if err != nil {
		return nil, nil, err
	}
	s.log.Warn("a damaged chunk was read by the help of its pack's parity", "chunk", id.String(), "pack", packName(at.pack), "offset", at.offset, "blocks", blocks)
	s.logServed(id, "parity")
	if err := s.doubtProof(at.pack, id); err != nil { // a scrub must see it
		s.log.Warn("a proof could not be forgotten", "err", err)
	}
	return rec, plain, nil
}

// fromParity makes a record anew from its pack's parity, and says of how many blocks.
// reader, if it is not nil, stands before the file.
func (s *Store) fromParity(id ID, at place, buf []byte, reader func(io.ReaderAt) io.ReaderAt) (rec, plain []byte, blocks int, err error) {
	f, err := s.files.open(at.pack)
	if err != nil {
		return nil, nil, 0, err
	}
	defer s.files.done(f)
	p, err := pack.OpenParity(readBy(reader, f), f.Size())
	if err != nil {
		return nil, nil, 0, err
	}
	if rec, blocks, err = p.ReadRange(int64(at.offset), at.recordLen()); err != nil {
		return nil, nil, 0, err
	}
	if plain, err = s.codec.Decode(buf, rec, id); err != nil {
		return nil, nil, 0, fmt.Errorf("healed bytes: %w", err)
	}
	return rec, plain, blocks, nil
}

// readMoved reads a chunk that a repair has moved since its place was looked up.
func (s *Store) readMoved(id ID, was place, buf []byte) (rec, plain []byte, ok bool) {
	at, found, err := s.lookup(id)
	if err != nil || !found || at == was {
		return nil, nil, false
	}
	if rec, err = s.readPlace(id, at, nil); err != nil {
		return nil, nil, false
	}
	plain, err = s.codec.Decode(buf, rec, id)
	return rec, plain, err == nil
}

// getDamaged is what Get does with a chunk that did not come back: it heals, by
// the pack's parity or by a replica, or returns damage with what was tried.
func (s *Store) getDamaged(ctx context.Context, damage error, id ID, at place, buf []byte) (rec, plain []byte, err error) {
	var d *pack.Damage
	if !errors.As(damage, &d) {
		if errors.Is(damage, ErrNotFound) { // a pack and its index entries may be lost
			if rec, plain, err := s.fromDonors(ctx, id, buf); err == nil {
				return rec, plain, nil
			}
		}
		return nil, nil, damage
	}
	rec, plain, err = s.healRecord(id, at, buf)
	if err != nil {
		if rec, plain, ok := s.readMoved(id, at, buf); ok {
			return rec, plain, nil
		}
		d.Err = fmt.Errorf("%w; parity does not heal it: %w", d.Err, err)
		if nerr := s.noteDamage(d); nerr != nil {
			s.log.Error("damage could not be remembered", "chunk", id.String(), "err", nerr)
		}
		rec, plain, derr := s.fromDonors(ctx, id, buf)
		if derr == nil {
			return rec, plain, nil
		}
		if !errors.Is(derr, errNoDonors) {
			d.Err = fmt.Errorf("%w; %w", d.Err, derr)
		}
		s.log.Error("damage", "kind", d.Kind.String(), "chunk", id.String(), "pack", packName(at.pack), "offset", at.offset, "err", d.Err)
		return nil, nil, d
	}
	return rec, plain, nil
}
