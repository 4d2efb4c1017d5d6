package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/chunkstore/pack"
)

const (
	// defaultDonorWait is how long a read waits for one donor: one may have to
	// open its store first, and one on a dead network share never answers.
	defaultDonorWait = 20 * time.Second
	// donorRest is how long a donor that was away is left alone by reads.
	donorRest = 30 * time.Second
	// MaxRecords is how many chunks a donor is asked for at once.
	MaxRecords = 64
)

// Donor is another store that may have what this one has lost. Nothing that it
// gives is believed: each record is decoded and its chunk's id computed.
type Donor interface {
	// Name says which store it is, to people and in the log.
	Name() string
	// OwnRecords returns, for each of at most MaxRecords ids, a record of that chunk, or
	// nil where it has none. It asks no donor of its own. An error says that
	// it did not answer. Safe for concurrent use; the records are the
	// caller's.
	OwnRecords(ctx context.Context, ids []ID) ([][]byte, error)
}

// donors are those of an open store.
type donors struct {
	mu   sync.Mutex // guards what follows
	list []*restingDonor

	wait   time.Duration // for one donor; set once
	change sync.Mutex    // one change of the list on the disk at a time
}

// restingDonor is a donor that reads leave alone for a while after it was away.
type restingDonor struct {
	Donor
	mu    sync.Mutex // guards until
	until time.Time
}

// SetDonors says where reads and repairs may look for what is damaged, in this
// order.
func (s *Store) SetDonors(list []Donor) {
	s.donors.mu.Lock()
	defer s.donors.mu.Unlock()
	s.donors.list = nil
	for _, d := range list {
		s.donors.list = append(s.donors.list, &restingDonor{Donor: d})
	}
}

// Donors returns them.
func (s *Store) Donors() []Donor {
	var list []Donor
	for _, d := range s.restingDonors() {
		list = append(list, d.Donor)
	}
	return list
}

func (s *Store) restingDonors() []*restingDonor {
	s.donors.mu.Lock()
	defer s.donors.mu.Unlock()
	return s.donors.list
}

// ask asks for one chunk and waits a bounded time, also for a donor that does
// not look at its context.
func (d *restingDonor) ask(ctx context.Context, id ID, most time.Duration) ([]byte, error) {
	d.mu.Lock()
	rest := time.Until(d.until)
	d.mu.Unlock()
	if rest > 0 {
		return nil, errors.New("it did not answer a moment ago")
	}
	recs, err := AskDonor(ctx, d.Donor, []ID{id}, most)
	if err != nil {
		if ctx.Err() == nil {
			d.mu.Lock()
			d.until = time.Now().Add(donorRest)
			d.mu.Unlock()
		}
		return nil, err
	}
	if recs[0] == nil {
		return nil, ErrNotFound
	}
	return recs[0], nil
}

// AskDonor asks a donor for some chunks and waits at most so long, also for one
// that does not look at its context.
func AskDonor(ctx context.Context, d Donor, ids []ID, most time.Duration) ([][]byte, error) {
	type answer struct {
		recs [][]byte
		err  error
	}
	soon, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	got := make(chan answer, 1)
	ids = slices.Clone(ids) // who does not look may still be at it when the caller goes on
	go func() {
		recs, err := d.OwnRecords(soon, ids)
		got <- answer{recs, err}
	}()
	var a answer
	select {
	case a = <-got:
	case <-soon.Done():
		a.err = fmt.Errorf("no answer within %v: %w", most, soon.Err())
	}
	if a.err == nil && len(a.recs) != len(ids) {
		a.err = fmt.Errorf("%d answers to %d questions", len(a.recs), len(ids))
	}
	return a.recs, a.err
}

// fromDonors brings a chunk from the first donor that has it. The error says
// what each of them answered.
func (s *Store) fromDonors(ctx context.Context, id ID, buf []byte) (rec, plain []byte, err error) {
	var tried []error
	for _, d := range s.restingDonors() {
		rec, err := d.ask(ctx, id, s.donors.wait)
		if err == nil {
			if plain, err = s.provedRecord(buf, rec, id); err == nil {
				s.log.Warn("a damaged chunk was read from a replica", "chunk", id.String(), "replica", d.Name())
				s.logServed(id, d.Name())
				return rec, plain, nil
			}
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		tried = append(tried, fmt.Errorf("replica %s: %w", d.Name(), err))
	}
	if tried == nil {
		return nil, nil, errNoDonors
	}
	return nil, nil, errors.Join(tried...)
}

var errNoDonors = errors.New("there is no replica")

// Prove tells whether a record is what a donor may give for a chunk, and its
// plain length.
func (s *Store) Prove(id ID, rec []byte) (plainLen int, err error) {
	plain, err := s.provedRecord(nil, rec, id)
	return len(plain), err
}

// provedRecord decodes what a donor gave and proves it: one whole record with a
// good sum, of a kind that a donor may give, whose bytes have the id.
func (s *Store) provedRecord(buf, rec []byte, id ID) ([]byte, error) {
	r, err := pack.CheckStored(rec)
	switch {
	case err != nil:
		return nil, fmt.Errorf("what it gave is damaged: %w", err)
	case len(r.Bytes) != len(rec):
		return nil, fmt.Errorf("what it gave is damaged: %d bytes behind the record", len(rec)-len(r.Bytes))
	case r.Kind == pack.KindRoot:
		// Whoever can choose a chunk's bytes and its kind could make up a
		// version. Roots are stored anew from the index.
		return nil, errors.New("it gave a version's record, which is not taken from a replica")
	}
	plain, err := s.codec.Decode(buf, rec, id)
	if err != nil {
		return nil, fmt.Errorf("what it gave is damaged: %w", err)
	}
	return plain, nil
}

// OwnRecord returns a record of chunk id for another store that has lost it:
// from this store's pack or its parity, never from this store's own donors, so
// that two stores that have each other as donors don't ask in a circle.
func (s *Store) OwnRecord(ctx context.Context, id ID) ([]byte, error) {
	rec, at, err := s.readRecord(ctx, id, nil)
	if err == nil {
		if _, err = s.codec.Decode(nil, rec, id); err == nil {
			return rec, nil
		}
		err = damageAt(pack.Corrupt, id, at, err)
	}
	if _, ok := errors.AsType[*pack.Damage](err); !ok {
		return nil, err
	}
	rec, _, herr := s.healRecord(id, at, nil)
	if herr != nil {
		return nil, errors.Join(err, herr)
	}
	return rec, nil
}

// OwnRecords returns what OwnRecord does for each of some chunks, nil where that is
// an error, unless nothing could be read at all.
func (s *Store) OwnRecords(ctx context.Context, ids []ID) ([][]byte, error) {
	recs := make([][]byte, len(ids))
	for i, id := range ids {
		rec, err := s.OwnRecord(ctx, id)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			recs[i] = rec
		}
	}
	return recs, nil
}

// StoredRecords returns, for each of some chunks, the bytes that lie where the index
// has its record, unproved, and nil where nothing could be read: for who knows what
// they must be.
func (s *Store) StoredRecords(ctx context.Context, ids []ID) ([][]byte, error) {
	recs := make([][]byte, len(ids))
	for i, id := range ids {
		rec, _, err := s.readRecord(ctx, id, nil)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			recs[i] = rec
		}
	}
	return recs, nil
}

// ProvedRecord returns a record of chunk id that was decoded and proved, by the
// help of parity and replicas if need be. Errors are Get's.
func (s *Store) ProvedRecord(ctx context.Context, id ID) ([]byte, error) {
	rec, at, err := s.readRecord(ctx, id, nil)
	if err == nil {
		if _, err = s.codec.Decode(nil, rec, id); err == nil {
			return rec, nil
		}
		err = damageAt(pack.Corrupt, id, at, err)
	}
	rec, _, err = s.getDamaged(ctx, err, id, at, nil)
	return rec, err
}

// RecordLen returns the bytes that a chunk's record takes.
func (s *Store) RecordLen(id ID) (n int, ok bool, err error) {
	at, ok, err := s.lookup(id)
	return at.recordLen(), ok, err
}
