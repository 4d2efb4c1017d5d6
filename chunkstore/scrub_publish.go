package chunkstore

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore/pack"
)

// move is an index entry that is to lead to the new pack.
type move struct {
	id  ID
	was place
	had bool
	to  pack.Entry
}

// publishNew makes the new pack durable and then, in one synced batch, the
// place of its chunks; in the same batch the old pack is said to be replaced.
func (r *packRepair) publishNew() error {
	if r.out != nil {
		defer r.unmake(r.out)
		err := r.out.Seal()
		if err == nil {
			err = r.out.up.Commit()
		}
		if err = errors.Join(err, r.out.up.Close()); err != nil {
			return err
		}
	}
	if err := r.publishMoves(); err != nil {
		return err
	}
	return r.LogHeal(r.events()...)
}

// events say what the repair did, for the log.
func (r *packRepair) events() []Event {
	events := []Event{{Event: EventRepaired, Pack: packHex(r.Pack), New: packHex(r.New), Donor: "parity", Kept: r.Kept, Healed: r.PackRepair.Healed, Lost: r.Lost}}
	if r.New == 0 {
		events[0].New = ""
	}
	for _, d := range r.found.Bad {
		if d.Healable {
			events = append(events, Event{Event: EventHealed, Chunk: d.ID.String(), Kind: d.Kind.String(), Pack: packHex(r.Pack), Offset: d.Offset, Donor: "parity", New: events[0].New})
		}
	}
	return events
}

func (r *packRepair) publishMoves() error {
	r.rootMu.RLock()
	defer r.rootMu.RUnlock()
	r.damage.mu.Lock()
	defer r.damage.mu.Unlock()
	b := r.index.NewBatch()
	defer b.Close()
	whole := map[ID]*atomic.Int64{}
	for _, m := range r.moves {
		now, ok, err := r.lookup(m.id)
		if err != nil {
			return err
		}
		if ok != m.had || now != m.was {
			continue // it was stored anew meanwhile
		}
		c, err := r.forgive(b, m.id)
		if err != nil {
			return err
		}
		if c != nil {
			whole[m.id] = c
		}
		r.enters(m.id)
		if err := b.Set(chunkKey(m.id), place{r.New, m.to.Offset, m.to.PayloadLen}.append(nil), nil); err != nil {
			return fmt.Errorf("index chunk %v: %w", m.id, err)
		}
	}
	if err := r.batchPacks(b); err != nil {
		return err
	}
	if err := r.commitPacks(b, pebble.Sync); err != nil {
		return fmt.Errorf("index pack %016x: %w", r.New, err)
	}
	r.memo.changedRoots(r.roots)
	for _, c := range whole {
		c.Add(-1)
	}
	r.Versions = len(r.roots)
	return nil
}

// batchPacks adds to the batch the new pack, its roots, and the old one's end.
func (r *packRepair) batchPacks(b *pebble.Batch) error {
	if r.out != nil {
		info := packInfo{class: r.out.Header().Class, records: uint32(len(r.moves)), size: uint64(r.out.FileSize())}
		for _, m := range r.moves {
			info.plain += uint64(m.to.PlainLen)
			info.stored += uint64(m.to.RecordLen())
		}
		if err := b.Set(packKey(r.New), info.append(nil), nil); err != nil {
			return fmt.Errorf("index pack %016x: %w", r.New, err)
		}
	}
	for _, rt := range r.roots {
		if dropped, err := r.isDropped(rt.name); err != nil {
			return err
		} else if dropped {
			continue
		}
		if err := b.Set(rootKey(rt.name), rt.body, nil); err != nil {
			return fmt.Errorf("index root: %w", err)
		}
	}
	if r.rescue {
		return nil
	}
	if err := b.Set(replacedKey(r.Pack), packKey(r.New)[1:], nil); err != nil {
		return fmt.Errorf("index pack %016x: %w", r.Pack, err)
	}
	return nil
}
