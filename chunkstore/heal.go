package chunkstore

import (
	"errors"
	"fmt"

	"holdfast/chunkstore/pack"
)

// healRecord brings a damaged record of a published pack back from the pack's
// parity and returns it with its plain bytes, proved. Nothing is written: the
// pack stays as it is until a repair.
func (s *Store) healRecord(id ID, at place, buf []byte) (rec, plain []byte, err error) {
	f, err := s.files.open(at.pack)
	if err != nil {
		return nil, nil, err
	}
	defer s.files.done(f)
	p, err := pack.OpenParity(f, f.Size())
	if err != nil {
		return nil, nil, err
	}
	rec, blocks, err := p.ReadRange(int64(at.offset), at.recordLen())
	if err != nil {
		return nil, nil, err
	}
	if plain, err = s.codec.Decode(buf, rec, id); err != nil {
		return nil, nil, fmt.Errorf("healed bytes: %w", err)
	}
	s.log.Warn("a damaged chunk was read by the help of its pack's parity", "chunk", id.String(), "pack", packName(at.pack), "offset", at.offset, "blocks", blocks)
	return rec, plain, nil
}

// getDamaged is what Get does with a chunk that did not come back: it heals, or
// returns damage with what was tried.
func (s *Store) getDamaged(damage error, id ID, at place, buf []byte) (rec, plain []byte, err error) {
	var d *pack.Damage
	if !errors.As(damage, &d) {
		return nil, nil, damage
	}
	rec, plain, err = s.healRecord(id, at, buf)
	if err != nil {
		d.Err = fmt.Errorf("%w; parity does not heal it: %w", d.Err, err)
		s.log.Error("damage", "kind", d.Kind.String(), "chunk", id.String(), "pack", packName(at.pack), "offset", at.offset, "err", d.Err)
		return nil, nil, d
	}
	return rec, plain, nil
}
