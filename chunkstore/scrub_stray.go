package chunkstore

import (
	"errors"
	"fmt"
	"io"

	"holdfast/chunkstore/pack"
)

// strays finds the index entries that point into the pack and that none of its
// records answered: wrong ones, or those of records that a scan could not find. Where
// the footer is back it tells first of the roots that nothing could be known of without.
func (p *packProver) strays() error {
	if p.Known && !p.proof.Scanned {
		if err := p.endGap(p.ctx, p.Pack); err != nil {
			return err
		}
	}
	if !p.proof.Scanned && (p.opts.LeadsApart || p.opts.Expect.Count >= 0 && p.matched >= p.opts.Expect.Count) {
		return nil
	}
	var found []stray
	err := p.chunksAt(p.ctx, func(n uint64) bool { return n == p.Pack }, func(id ID, at place) error {
		if r, ok := p.here[id]; !ok || r.at != at {
			found = append(found, stray{id, at})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		if now, ok, err := p.lookup(f.id); err != nil || !ok || now != f.at {
			if err != nil {
				return err
			}
			continue
		}
		if r, ok := p.here[f.id]; ok && r.good {
			if err := p.fix(f.id, f.at, true, r.at); err != nil {
				return err
			}
			if err := p.noteAstray(f.id); err != nil {
				return err
			}
			continue
		}
		if err := p.stray(f.id, f.at); err != nil {
			return err
		}
	}
	return nil
}

// noteAstray remembers that a chunk does not come back by its entry, if that was not
// set right: there is a good record, and until a repair no read finds it.
func (p *packProver) noteAstray(id ID) error {
	if p.opts.Fix && p.Known {
		return nil
	}
	d, err := p.proveChunk(p.ctx, id, p.opts.Reader)
	if err != nil || d == nil {
		return err
	}
	return p.noteDamage(d)
}

// stray judges an index entry that leads to no record known to the footer.
func (p *packProver) stray(id ID, at place) error {
	b := make([]byte, at.recordLen())
	got, err := p.file.ReadAt(b, int64(at.offset))
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	kind := pack.Corrupt
	switch {
	case got == len(b):
		// As of a record that the footer names, the stored bytes must fit their sum, too:
		// a repair moves them as they are.
		if _, err = pack.CheckStored(b); err == nil {
			_, err = p.codec.Decode(nil, b, id)
		}
		if err == nil { // the footer's fault is told already
			p.loose = append(p.loose, stray{id, at})
			return p.whole(id, at)
		}
	case err == nil:
		kind, err = pack.Unreadable, fmt.Errorf("only %d of %d bytes came, without an error", got, len(b))
	case errors.Is(err, io.EOF):
		kind, err = pack.Missing, fmt.Errorf("the pack ends at byte %d", p.Size)
	default:
		kind = pack.Unreadable
	}
	return p.damaged(damageAt(kind, id, at, err), true)
}
