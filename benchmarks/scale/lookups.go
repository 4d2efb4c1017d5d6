package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

const (
	lookupRounds = 7
	lookupBatch  = 20000 // at most
	perHas       = 64    // ids that a capture asks for at once
)

// measureLookups compares what a capture's session answers with plain gets from a
// copy of the same index, which is made of links to its tables.
func measureLookups(ctx context.Context, dir string, r *report) (err error) {
	plainDir := filepath.Join(filepath.Dir(dir), "plain-index")
	os.RemoveAll(plainDir) //nolint:errcheck // the checkpoint says so
	db, err := pebble.Open(filepath.Join(dir, "index"), indexOptions())
	if err != nil {
		return err
	}
	if err := errors.Join(db.Checkpoint(plainDir, pebble.WithFlushedWAL()), db.Close()); err != nil {
		return err
	}
	defer os.RemoveAll(plainDir)
	opts := indexOptions()
	opts.Cache = pebble.NewCache(16 << 20)
	defer opts.Cache.Unref()
	if db, err = pebble.Open(plainDir, opts); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s, err := chunkstore.Open(dir, chunkstore.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ses, err := s.Begin(ctx, "scale")
	if err != nil {
		return err
	}
	defer ses.Close()
	l := &lookups{ctx: ctx, db: db, ses: ses, n: max(perHas, min(lookupBatch, r.Chunks/4/lookupRounds))}
	return l.measure(r)
}

type lookups struct {
	ctx context.Context
	db  *pebble.DB
	ses chunkstore.Session
	n   int // ids of a batch
}

func (l *lookups) measure(r *report) error {
	if err := l.settle(); err != nil {
		return err
	}
	present, absent := newChunkIDs(), chunkIDs{rand.NewChaCha8([32]byte{3})}
	var hit, plainHit, miss, plainMiss []float64
	for range lookupRounds {
		for _, half := range []struct {
			ids         chunkIDs
			there       bool
			ours, plain *[]float64
		}{{present, true, &hit, &plainHit}, {absent, false, &miss, &plainMiss}} {
			a, b := l.draw(half.ids), l.draw(half.ids)
			took, err := l.has(a, half.there)
			if err != nil {
				return err
			}
			*half.ours = append(*half.ours, took)
			if took, err = l.get(b, half.there); err != nil {
				return err
			}
			*half.plain = append(*half.plain, took)
		}
	}
	r.add("look-up of a chunk that is there", median(hit), "µs", 0).Note = fmt.Sprintf("a plain Pebble get: %.2f µs", median(plainHit))
	r.add("look-up of one that is there, to a plain get", median(hit)/median(plainHit), "×", 2)
	r.add("look-up of a new chunk", median(miss), "µs", 0).Note = fmt.Sprintf("a plain Pebble get: %.2f µs", median(plainMiss))
	r.add("look-up of a new one, to a plain get", median(miss)/median(plainMiss), "×", 2)
	return nil
}

// settleTime is how long a store may take to learn what is surely new.
const settleTime = 3 * time.Minute

// settle asks for new chunks, as a first capture does, until the answer is as quick as
// it becomes.
func (l *lookups) settle() error {
	absent := chunkIDs{rand.NewChaCha8([32]byte{4})}
	for began := time.Now(); time.Since(began) < settleTime; {
		ours, err := l.has(l.draw(absent), false)
		if err != nil {
			return err
		}
		plain, err := l.get(l.draw(absent)[:perHas], false)
		if err != nil {
			return err
		}
		if ours < plain/2 {
			return nil
		}
	}
	return nil
}

func (l *lookups) draw(ids chunkIDs) []pack.ID {
	all := make([]pack.ID, l.n)
	for i := range all {
		all[i] = ids.next()
	}
	return all
}

// has returns the microseconds that a session takes for one id.
func (l *lookups) has(ids []pack.ID, want bool) (float64, error) {
	have := make([]bool, perHas)
	began := time.Now()
	for i := 0; i+perHas <= len(ids); i += perHas {
		if err := l.ses.Has(l.ctx, ids[i:i+perHas], have); err != nil {
			return 0, err
		}
		for _, h := range have {
			if h != want {
				return 0, fmt.Errorf("a chunk is there: %v, want %v", h, want)
			}
		}
	}
	return perID(began, len(ids)/perHas*perHas), nil
}

// get is has with plain gets.
func (l *lookups) get(ids []pack.ID, want bool) (float64, error) {
	began := time.Now()
	for _, id := range ids {
		_, closer, err := l.db.Get(chunkKey(id))
		if err == nil {
			closer.Close()
		}
		if (err == nil) != want || err != nil && !errors.Is(err, pebble.ErrNotFound) {
			return 0, fmt.Errorf("get: %v", err)
		}
	}
	return perID(began, len(ids)), nil
}

func perID(began time.Time, n int) float64 {
	return float64(time.Since(began).Nanoseconds()) / float64(n) / 1000
}
