package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/chunkstore/pack"
)

// PackRepair is what a repair of one pack did, or would do.
type PackRepair struct {
	Pack     uint64
	New      uint64 // the pack that took its records in; 0: none was needed
	Kept     int    // records that were whole and went along
	Healed   int    // records that the parity brought back
	Versions int    // versions that became visible again
	Lost     int    // chunks that did not come back
}

// RepairPack heals what ProvePack found. Where everything comes back, a new
// pack takes its place, and FinishRepairs moves the old one to quarantine;
// otherwise a new pack takes in the records that were healed and the old one
// stays. Nothing is deleted. One repair runs at a time.
func (s *Store) RepairPack(ctx context.Context, found PackReport, reader func(io.ReaderAt) io.ReaderAt) (PackRepair, error) {
	r := &packRepair{Store: s, ctx: ctx, found: found}
	r.Pack = found.Pack
	if err := s.using.lock(ctx, found.Pack); err != nil {
		return r.PackRepair, err
	}
	defer s.using.unlock(found.Pack)
	if known, err := s.knows(found.Pack); err != nil || found.Known && !known {
		return PackRepair{Pack: found.Pack}, err // pruned since it was proved
	}
	if err := r.run(reader); err != nil {
		return r.PackRepair, fmt.Errorf("repair pack %016x: %w", found.Pack, err)
	}
	return r.PackRepair, nil
}

type packRepair struct {
	*Store
	PackRepair
	ctx     context.Context
	found   PackReport
	rescue  bool // something stays lost: only what was healed moves
	parity  *pack.Parity
	healing map[ID]bool // damaged records that the index has here
	out     *openPack
	moves   []move
	roots   []root
}

// Plan says what RepairPack would do.
func (p PackReport) Plan() PackRepair {
	r := PackRepair{Pack: p.Pack, Kept: p.Records - p.Stale + len(p.loose)}
	for _, d := range p.Bad {
		r.Kept--
		if d.Healable {
			r.Healed++
		} else {
			r.Lost++
		}
	}
	if r.Lost > 0 {
		r.Kept = 0
	}
	r.Kept = max(r.Kept, 0)
	return r
}

// Repairable reports whether RepairPack has anything to do.
func (p PackReport) Repairable() bool {
	if p.Missing || p.Foreign != "" || p.Result == PackWhole && p.Known {
		return false
	}
	plan := p.Plan()
	return plan.Lost == 0 && p.Result != PackUnreadable || plan.Healed > 0
}

func (r *packRepair) run(reader func(io.ReaderAt) io.ReaderAt) error {
	f, err := r.media.Open(packName(r.Pack))
	if err != nil {
		return err
	}
	defer f.Close()
	in := io.ReaderAt(f)
	if reader != nil {
		in = reader(f)
	}
	r.healing = map[ID]bool{}
	for _, d := range r.found.Bad {
		r.healing[d.ID] = true
		r.rescue = r.rescue || !d.Healable
	}
	r.rescue = r.rescue || r.found.Result == PackUnreadable
	if r.Lost = r.found.Plan().Lost; !r.rescue || !r.found.Known {
		if _, err = pack.Prove(r.ctx, in, f.Size(), pack.ProveOptions{}, r.keep); err != nil {
			return errors.Join(err, r.abandon())
		}
		for _, found := range r.found.loose {
			if err := r.keepStray(in, found); err != nil {
				return errors.Join(err, r.abandon())
			}
		}
	}
	for _, d := range r.found.Bad {
		if err := r.heal(in, f.Size(), d); err != nil {
			return errors.Join(err, r.abandon())
		}
	}
	if err := r.ctx.Err(); err != nil {
		return errors.Join(err, r.abandon())
	}
	return r.publishNew()
}

// keep takes a whole record along if it is needed.
func (r *packRepair) keep(e pack.Entry, rec []byte, err error) error {
	var d *pack.Damage
	if errors.As(err, &d) {
		if !r.healing[d.ID] {
			return r.stale(d)
		}
		return nil
	}
	if err != nil {
		return err
	}
	plain, err := r.codec.Decode(nil, rec, e.ID)
	if err != nil {
		if r.healing[e.ID] {
			return nil
		}
		return r.stale(&pack.Damage{ID: e.ID, Pack: r.Pack, Offset: int64(e.Offset), Err: err})
	}
	was, had, err := r.lookup(e.ID)
	if err != nil {
		return err
	}
	at := place{r.Pack, e.Offset, e.PayloadLen}
	if had && was != at {
		// The chunk lies elsewhere, too: that copy counts if it comes back.
		if _, err := r.Get(r.ctx, e.ID, nil); err == nil && was.pack != r.Pack {
			return r.ctx.Err()
		}
	}
	r.Kept++
	return r.take(e.ID, e.Kind, rec, plain, was, had)
}

// keepStray takes along a record that the footer does not name.
func (r *packRepair) keepStray(in io.ReaderAt, found stray) error {
	if was, had, err := r.lookup(found.id); err != nil || !had || was != found.at {
		return err // it was stored anew meanwhile
	}
	b := make([]byte, found.at.recordLen())
	if n, err := in.ReadAt(b, int64(found.at.offset)); n < len(b) {
		return fmt.Errorf("read chunk %v: %d of %d bytes, %v", found.id, n, len(b), err)
	}
	if err := r.takeStored(found.id, b, found.at, true); err != nil {
		return err
	}
	r.Kept++
	return nil
}

// stale checks that a damaged record which is not going to be healed is not
// needed: it may have become so since the pack was proved.
func (r *packRepair) stale(d *pack.Damage) error {
	was, had, err := r.lookup(d.ID)
	if err != nil {
		return err
	}
	if had && was.pack == r.Pack && int64(was.offset) == d.Offset {
		return fmt.Errorf("the pack has changed for the worse since it was proved: %w", d)
	}
	return nil
}

// heal brings one damaged record back from the parity.
func (r *packRepair) heal(in io.ReaderAt, size int64, d ChunkDamage) error {
	was, had, err := r.lookup(d.ID)
	if err != nil || !d.Healable {
		return err
	}
	if had && (was.pack != r.Pack || int64(was.offset) != d.Offset) {
		return nil // it was stored anew meanwhile
	}
	if r.parity == nil {
		if r.parity, err = pack.OpenParity(in, size); err != nil {
			return err
		}
	}
	b, _, err := r.parity.ReadRange(d.Offset, d.Length)
	if err != nil {
		return err
	}
	if err := r.takeStored(d.ID, b, was, had); err != nil {
		return err
	}
	r.Healed++
	return nil
}

// takeStored proves a record that was read from a place and takes it.
func (r *packRepair) takeStored(id ID, b []byte, was place, had bool) error {
	rec, err := pack.CheckStored(b)
	if err != nil {
		return err
	}
	plain, err := r.codec.Decode(nil, rec.Bytes, id)
	if err != nil {
		return err
	}
	return r.take(id, rec.Kind, rec.Bytes, plain, was, had)
}

// take appends a proved record to the new pack.
func (r *packRepair) take(id ID, kind pack.Kind, rec, plain []byte, was place, had bool) error {
	if r.out == nil {
		var err error
		if r.out, err = r.makePack(pack.ClassOf(kind)); err != nil {
			return err
		}
		r.New = r.out.Header().Pack
	}
	e, err := r.out.Append(pack.Record{ID: id, Kind: kind, PlainLen: len(plain), Bytes: rec})
	if err != nil {
		return err
	}
	r.moves = append(r.moves, move{id, was, had, e})
	if kind != pack.KindRoot {
		return nil
	}
	rt, err := decodeRoot(plain)
	if err != nil {
		return nil // proved and still not a root: nothing can be made of it
	}
	if lost, lerr := r.isLostRoot(r.ctx, rt.name); lerr != nil {
		err = lerr
	} else if lost {
		r.roots = append(r.roots, root{rt.name, append([]byte(nil), rt.body...)})
	}
	return err
}

// abandon leaves a new pack that is not finished. What is in it is a copy.
func (r *packRepair) abandon() error {
	if r.out == nil {
		return nil
	}
	out := r.out
	r.out, r.New = nil, 0
	r.unmake(out)
	return out.up.Close()
}
