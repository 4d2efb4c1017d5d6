package heal

import (
	"context"
	"errors"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

const (
	// donorPatience is how long a scrub waits for one answer of a donor.
	donorPatience = time.Minute
	// donateBytes is how many bytes of records are stored as one pack.
	donateBytes  = 16 << 20
	donateChunks = 4096
	// donateRounds bounds how often the maps are followed anew: what lies
	// below a map is known when the map has come back, and a disk has five
	// levels.
	donateRounds = 6
)

// DonorView is what one donor gave, or could give.
type DonorView struct {
	Donor  string `json:"donor"`
	Kind   string `json:"kind"` // replica or source
	Chunks int    `json:"chunks"`
	Bytes  int64  `json:"bytes"`           // plain
	Error  string `json:"error,omitempty"` // why it could not give more
}

const (
	donorReplica = "replica"
	donorSource  = "source"
)

// donor brings back chunks from outside the store's packs.
type donor struct {
	view DonorView
	// give offers records of damaged chunks until there are no more.
	give func(ctx context.Context, take func(id pack.ID, rec []byte) error) error
}

// donate brings back what the packs don't, from replicas, then from live
// sources.
func (s *scrub) donate(ctx context.Context) error {
	if !s.opts.Repair || !s.store.Distrust() {
		return nil
	}
	list, done := s.donors(ctx)
	defer done()
	if len(list) == 0 {
		return nil
	}
	defer func() {
		for _, d := range list {
			s.report.Donors = append(s.report.Donors, d.view)
			s.report.Donated += d.view.Chunks
			s.back += d.view.Chunks
		}
	}()
	for range donateRounds {
		back := 0
		for _, d := range list {
			n, err := s.takeFrom(ctx, d)
			if err != nil {
				return err
			}
			back += n
		}
		if back == 0 || s.opts.DryRun {
			return nil
		}
		if err := s.resolveAgain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// donors lists those that there are; done lets go of them.
func (s *scrub) donors(ctx context.Context) (list []*donor, done func()) {
	for _, d := range s.store.Donors() {
		list = append(list, &donor{
			view: DonorView{Donor: d.Name(), Kind: donorReplica},
			give: func(ctx context.Context, take func(pack.ID, []byte) error) error { return s.fromReplica(ctx, d, take) },
		})
	}
	var open []*liveSource
	for _, from := range s.opts.From {
		d := &donor{view: DonorView{Donor: from.Path, Kind: donorSource}}
		src, err := openLive(from)
		if err != nil {
			d.view.Error = err.Error()
			d.give = func(context.Context, func(pack.ID, []byte) error) error { return nil }
		} else {
			open = append(open, src)
			d.give = func(ctx context.Context, take func(pack.ID, []byte) error) error { return s.fromLive(ctx, src, take) }
		}
		list = append(list, d)
	}
	return list, func() {
		for _, src := range open {
			src.Close()
		}
	}
}

// takeFrom takes what a donor gives, a pack's worth at a time, or counts it in a
// dry run. That the donor fails is told in its view and is no error.
func (s *scrub) takeFrom(ctx context.Context, d *donor) (back int, err error) {
	var ids []pack.ID
	var recs [][]byte
	size := 0
	var failed error // of the store
	flush := func() error {
		h, err := s.store.StoreAnew(ctx, d.view.Kind+" "+d.view.Donor, ids, recs)
		d.view.Chunks += h.Chunks
		d.view.Bytes += h.Bytes
		back += h.Chunks
		ids, recs, size = nil, nil, 0
		failed = errors.Join(failed, err)
		return err
	}
	err = d.give(ctx, func(id pack.ID, rec []byte) error {
		if s.opts.DryRun {
			if plain, err := s.store.Prove(id, rec); err == nil {
				d.view.Chunks++
				d.view.Bytes += int64(plain)
				back++
			}
			return nil
		}
		ids, recs, size = append(ids, id), append(recs, rec), size+len(rec)
		if size < donateBytes && len(ids) < donateChunks {
			return nil
		}
		return flush()
	})
	if err != nil && failed == nil && ctx.Err() == nil {
		d.view.Error = err.Error()
	}
	if failed == nil && len(ids) > 0 {
		flush() //nolint:errcheck // failed has it
	}
	return back, errors.Join(failed, ctx.Err())
}

// fromReplica asks a replica for every chunk that is known to be lost.
func (s *scrub) fromReplica(ctx context.Context, d chunkstore.Donor, take func(pack.ID, []byte) error) error {
	var ids []pack.ID
	ask := func() error {
		recs, err := chunkstore.AskDonor(ctx, d, ids, donorPatience)
		if err != nil {
			return err
		}
		for i, rec := range recs {
			if rec == nil {
				continue
			}
			if err := take(ids[i], rec); err != nil {
				return err
			}
		}
		ids = ids[:0]
		return nil
	}
	err := s.store.Damage(ctx, func(c chunkstore.DamagedChunk) error {
		if c.Kind == pack.Unreadable { // no proof of damage: it is tried again later
			return nil
		}
		if ids = append(ids, c.ID); len(ids) < chunkstore.MaxRecords {
			return nil
		}
		return ask()
	})
	if err == nil && len(ids) > 0 {
		err = ask()
	}
	return err
}

// resolveAgain follows the maps anew: below those that came back there may be
// chunks that the index does not know either.
func (s *scrub) resolveAgain(ctx context.Context) error {
	w := s.newWalk()
	return w.versions(ctx, "", func(v version, err error) error {
		if err != nil {
			return nil // told by resolve
		}
		err = w.disks(ctx, v, nil)
		if unfit := (*unfitError)(nil); errors.As(err, &unfit) {
			return nil // told by resolve
		}
		return err
	})
}
