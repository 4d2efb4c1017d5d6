package chunkstore

import (
	"context"
	"errors"
	"fmt"

	"holdfast/chunkstore/pack"
)

// Healed says what a heal from outside the packs did.
type Healed struct {
	Chunks int   // that came back
	Bytes  int64 // their plain bytes
}

// StoreAnew stores chunks that were lost, from records that somebody outside
// gave: each is proved against its id first. When it returns, those of them
// that the store had lost are durable in a new pack and their damage has ended.
// from says where they are from, in the log.
func (s *Store) StoreAnew(ctx context.Context, from string, ids []ID, recs [][]byte) (Healed, error) {
	if len(ids) != len(recs) {
		return Healed{}, fmt.Errorf("heal: %d records for %d chunks", len(recs), len(ids))
	}
	var h Healed
	var good []pack.Record
	var events []Event
	for i, id := range ids {
		if recs[i] == nil {
			continue
		}
		plain, err := s.provedRecord(nil, recs[i], id)
		if err != nil {
			s.log.Warn("a donor's chunk is not taken", "chunk", id.String(), "donor", from, "err", err)
			continue
		}
		if had, err := s.has(id); err != nil || had {
			if err != nil {
				return h, err
			}
			continue // another heal or a capture was quicker
		}
		rec, err := pack.CheckStored(recs[i])
		if err != nil {
			return h, err
		}
		if !s.canHold(rec) { // the donor's format is newer
			rec = s.codec.Encode(nil, rec.Kind, id, plain)
		}
		e := Event{Event: EventHealed, Chunk: id.String(), Donor: from}
		if d, ok, err := s.damageOf(id); err == nil && ok {
			e.Kind, e.Offset = d.Kind.String(), d.Offset
			if d.Pack != 0 {
				e.Pack = packHex(d.Pack)
			}
		}
		h.Chunks++
		h.Bytes += int64(len(plain))
		good, events = append(good, rec), append(events, e)
	}
	if len(good) == 0 {
		return h, ctx.Err()
	}
	return h, s.storeHealed(ctx, good, events)
}

// storeHealed makes proved records durable and says so in the log.
func (s *Store) storeHealed(ctx context.Context, recs []pack.Record, events []Event) error {
	ids := make([]ID, len(recs))
	for i := range recs {
		ids[i] = recs[i].ID
	}
	defer s.expectHeal(ids)()
	ses, err := s.Begin(ctx, "heal")
	if err != nil {
		return err
	}
	defer ses.Close()
	if _, err := ses.Put(ctx, recs); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	if err := s.Sync(ctx); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	for i, id := range ids {
		if n, ok, err := s.PackOf(id); err == nil && ok {
			events[i].New = packHex(n)
		}
	}
	return s.LogHeal(events...)
}

// Sync makes everything that was put before it durable and known.
func (s *Store) Sync(context.Context) error {
	var err error
	for c := range s.writers {
		err = errors.Join(err, s.writers[c].drain())
	}
	return err
}
