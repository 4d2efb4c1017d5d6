package chunkstore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// A read that does not find what a proof has vouched for ends that proof. One that comes
// while the pack is proved finds nothing to end, and the proof may have passed the record
// long before. So who proves a pack has a list of doubts: what was met in the pack since its
// proof began. At its end, what is on the list and is none of the damage that it tells of
// itself is applied to it as if it had come behind it; and the proof does not end the damage of a
// chunk that is on the list, as the bytes that it has may be older.

// doubts lists chunks that did not come back from their place in a pack, since the proof
// of that pack began, with whether they are lost for sure: parity brought the others back,
// or there was an I/O error. Store.proving guards it.
type doubts map[ID]bool

// beginProof lists doubts of a pack from now on. The caller has the pack to itself.
func (s *Store) beginProof(n uint64) doubts {
	s.proving.Lock()
	defer s.proving.Unlock()
	d := doubts{}
	s.doubted[n] = d
	return d
}

// endProof ends the list.
func (s *Store) endProof(n uint64) {
	s.proving.Lock()
	defer s.proving.Unlock()
	delete(s.doubted, n)
}

// doubt puts a chunk on the list of who proves its pack, if somebody does. The caller
// holds proving.
func (s *Store) doubt(n uint64, id ID, lost bool) {
	if d := s.doubted[n]; d != nil {
		d[id] = d[id] || lost
	}
}

// isDoubted reports whether a chunk is on a list, which may be nil.
func (s *Store) isDoubted(id ID, d doubts) bool {
	if d == nil {
		return false
	}
	s.proving.Lock()
	defer s.proving.Unlock()
	_, is := d[id]
	return is
}

// remember writes a proof that has come to its end, with the doubts that came meanwhile.
// told are the damaged chunks that it has found itself. Of a pack that was forgotten meanwhile
// nothing is written: one of its number that comes back, from a backup, is proved by nobody.
func (s *Store) remember(n uint64, p PackProof, d doubts, told []ChunkDamage) error {
	s.proving.Lock()
	defer s.proving.Unlock()
	if known, err := s.knows(n); err != nil || !known {
		return err
	}
	for _, c := range told {
		delete(d, c.ID)
	}
	for _, lost := range d {
		p = p.doubtedBy(lost)
	}
	if p.Result == PackUnproved {
		return s.clearProof(n, pebble.Sync)
	}
	return s.writeProof(n, p)
}

// doubtedBy returns what stays of a proof when a chunk did not come back; lost says that
// nothing in the pack brings it back. One that told of damage before goes on telling of it,
// and where chunks are lost now it says that.
func (p PackProof) doubtedBy(lost bool) PackProof {
	switch {
	case p.Result == PackUnproved || p.Result == PackWhole:
		return PackProof{}
	case p.Result == PackHealable && lost:
		p.Result = PackDamaged
	}
	p.Doubted, p.Deep = true, false
	return p
}

// doubtProof makes the next scrub look at a pack where the last proof found it whole, as
// a chunk came back by its parity only, or, with the zero id, the footer did not. Another
// proof stays: no scrub passes over it, and it alone may tell of damage that parity heals.
func (s *Store) doubtProof(n uint64, id ID) error {
	s.proving.Lock()
	defer s.proving.Unlock()
	s.doubt(n, id, false)
	if p, err := s.proof(n); err != nil || p.Result != PackWhole {
		return err
	}
	return s.clearProof(n, pebble.Sync)
}

// doubtProofFor adds to a batch what stays of the last proof of a pack in which damage was
// found. The caller holds proving.
func (s *Store) doubtProofFor(b *pebble.Batch, d *pack.Damage) error {
	was, err := s.proof(d.Pack)
	if err != nil {
		return err
	}
	now := was.doubtedBy(d.Kind != pack.Unreadable)
	switch {
	case now == was:
		return nil
	case now.Result == PackUnproved:
		err = b.Delete(proofKey(d.Pack), nil)
	default:
		err = b.Set(proofKey(d.Pack), now.append(nil), nil)
	}
	if err != nil {
		return fmt.Errorf("doubt proof of pack %016x: %w", d.Pack, err)
	}
	return nil
}
