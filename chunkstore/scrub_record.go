package chunkstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// compare sees whether the pack's footer names what the index has in it.
func (p *packProver) compare(entries []pack.Entry) {
	p.asKnown = p.Known && (p.opts.LeadsApart || sumOf(p.Pack, entries) == p.opts.Expect)
}

// plainBuffers holds buffers for decoded chunks that nobody keeps.
var plainBuffers = sync.Pool{New: func() any { b := make([]byte, 0, pack.MaxChunk+pack.Slack); return &b }}

// decode decodes a record and computes its chunk's id. Safe for concurrent use.
func (s *Store) decode(id ID, rec []byte) error {
	buf := plainBuffers.Get().(*[]byte)
	defer plainBuffers.Put(buf)
	_, err := s.codec.Decode(*buf, rec, id)
	return err
}

// decodeHurt decodes a record that is whole as it is stored, if its chunk is known to be
// damaged: what a deep proof or a read found may be what only decoding tells.
func (s *Store) decodeHurt(id ID, at place, rec []byte) error {
	_, hurt, err := s.DamageOf(id)
	if err != nil || !hurt {
		return err
	}
	if err := s.decode(id, rec); err != nil {
		return damageAt(pack.Corrupt, id, at, err)
	}
	return nil
}

// record judges one record of the pack.
func (p *packProver) record(e pack.Entry, rec []byte, err error) error {
	p.Records++
	at := place{p.Pack, e.Offset, e.PayloadLen}
	if err == nil && !p.opts.Deep {
		err = p.decodeHurt(e.ID, at, rec)
	}
	if p.asKnown && err == nil {
		p.matched++
		return errors.Join(p.whole(e.ID, at), p.checkRoot(e, rec))
	}
	where, ok, lerr := p.lookup(e.ID)
	if lerr != nil {
		return lerr
	}
	if ok && where == at {
		p.matched++
	} else if err == nil && !p.opts.Deep { // before the index is pointed here
		if err = p.decode(e.ID, rec); err != nil {
			err = damageAt(pack.Corrupt, e.ID, at, err)
		}
	}
	if old, twice := p.here[e.ID]; !twice || ok && where == at || !old.good && old.at != where {
		p.here[e.ID] = proved{at, err == nil}
	}
	if err != nil {
		return p.damaged(err, ok && where == at || !ok && !p.Known)
	}
	if ok && where == at {
		return errors.Join(p.whole(e.ID, at), p.checkRoot(e, rec))
	}
	if p.isInflight(e.ID) {
		return nil
	}
	// An entry that leads elsewhere into this pack may be wrong, or of a
	// second record of the chunk, such as a crash leaves: see strays.
	wrong := !ok
	if ok && where.pack != p.Pack {
		if wrong, err = p.isLost(e.ID, where); err != nil {
			return err
		}
	}
	if wrong {
		if err := p.fix(e.ID, where, ok, at); err != nil {
			return err
		}
	}
	return p.checkRoot(e, rec)
}

// whole ends the damage of a chunk of which the pack has a good record.
func (p *packProver) whole(id ID, at place) error { return p.noteWholeBy(id, at, p.doubts) }

// checkRoot looks for the root of a record in the index. One that is not there,
// and was not dropped, was lost.
func (p *packProver) checkRoot(e pack.Entry, rec []byte) error {
	if e.Kind != pack.KindRoot {
		return nil
	}
	plain, err := p.codec.Decode(nil, rec, e.ID)
	if err != nil {
		return nil // found by a deep proof
	}
	r, err := decodeRoot(plain)
	if err != nil {
		return nil
	}
	p.rootMu.RLock()
	defer p.rootMu.RUnlock()
	if lost, err := p.isLostRoot(p.ctx, r.name); err != nil || !lost {
		return err
	}
	p.Entries++
	if !p.opts.Fix || !p.Known {
		return nil
	}
	p.Fixed++
	err = p.index.Set(rootKey(r.name), r.body, pebble.Sync)
	p.memo.changed(r.name)
	return err
}

// damaged takes in a record that is not as it was written.
func (p *packProver) damaged(err error, here bool) error {
	var d *pack.Damage
	if !errors.As(err, &d) {
		return err
	}
	d.Pack = p.Pack
	if d.Kind == pack.Unreadable {
		p.unread = true
	}
	if !here {
		p.Stale++
		return nil
	}
	c := ChunkDamage{Damage: *d}
	at := place{p.Pack, uint32(d.Offset), uint32(d.Length - pack.RecordHeaderLen)}
	if herr := p.tryParity(d.ID, at); herr != nil {
		c.Err = fmt.Errorf("%w; parity does not heal it: %w", d.Err, herr)
		d.Err = c.Err
	} else {
		c.Healable = true
	}
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	p.Bad = append(p.Bad, c)
	if c.Healable {
		return p.whole(d.ID, at)
	}
	return p.noteDamage(d)
}

func (p *packProver) tryParity(id ID, at place) error {
	if p.parity == nil {
		var err error
		if p.parity, err = pack.OpenParity(p.file, p.Size); err != nil {
			return err
		}
	}
	rec, _, err := p.parity.ReadRange(int64(at.offset), at.recordLen())
	if err == nil {
		_, err = p.codec.Decode(nil, rec, id)
	}
	return err
}
