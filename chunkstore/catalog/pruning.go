package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"holdfast/chunkstore"
)

const (
	pruningPrefix = "q"
	pruningFormat = 1

	// leastEvery bounds how often a store is pruned by itself: each mark reads
	// every map.
	leastEvery = time.Hour
)

// Pruning says when a process that stays up prunes a store by itself. The zero
// value is never.
type Pruning struct {
	Every time.Duration `json:"every_ns,omitempty"` // from the begin of one to the begin of the next; 0: never
	For   time.Duration `json:"for_ns,omitempty"`   // how long one may work; the next one goes on. 0: no bound
	Grace time.Duration `json:"grace_ns,omitempty"` // how long packs stay in the trash
	// Forget says that each VM's policy is carried out before.
	Forget bool `json:"forget,omitempty"`
}

// On reports whether the store is pruned at all.
func (p Pruning) On() bool { return p.Every > 0 }

// Validate reports the first thing that is wrong.
func (p Pruning) Validate() error {
	if p.Every != 0 && p.Every < leastEvery {
		return fmt.Errorf("pruning every %v is too often; want %v at least", p.Every, leastEvery)
	}
	for _, d := range []time.Duration{p.Every, p.For, p.Grace} {
		if d < 0 || d > maxKeepTime {
			return fmt.Errorf("pruning: a time of %v is out of bounds", d)
		}
	}
	return nil
}

// pruningFile is what is stored.
type pruningFile struct {
	Format int `json:"format"`
	Pruning
}

// decodePruning reads what is stored, which is not trusted.
func decodePruning(b []byte) (Pruning, error) {
	var f pruningFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Pruning{}, fmt.Errorf("decode (was it set by a newer holdfast?): %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Pruning{}, errors.New("decode: something follows it")
	}
	if f.Format != pruningFormat {
		return Pruning{}, fmt.Errorf("decode: format %d is not known: use a newer holdfast", f.Format)
	}
	return f.Pruning, f.Validate()
}

// PruningOf returns when the store is pruned; the zero value where nobody has
// said so.
func PruningOf(ctx context.Context, r chunkstore.Roots) (Pruning, error) {
	p, _, err := lastPruning(ctx, r)
	return p, err
}

func lastPruning(ctx context.Context, r chunkstore.Roots) (p Pruning, seq uint64, err error) {
	var last []byte
	var bad error
	prefix := seqPrefix(pruningPrefix, "")
	err = r.Roots(ctx, prefix, "", func(name string, body []byte) bool {
		seq, bad = parseSeq(name[len(prefix):])
		last = append(last[:0], body...)
		return bad == nil
	})
	if err = errors.Join(err, bad); err == nil && last != nil {
		p, err = decodePruning(last)
	}
	if err != nil {
		return Pruning{}, seq, fmt.Errorf("read when the store is pruned: %w", err)
	}
	return p, seq, nil
}

// SetPruning says when the store is pruned from now on.
func SetPruning(ctx context.Context, s Keeper, p Pruning) error {
	if err := p.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(pruningFile{pruningFormat, p})
	if err != nil {
		return fmt.Errorf("encode when the store is pruned: %w", err)
	}
	return untilCommitted(ctx, s, "when the store is pruned", func(ses chunkstore.Session) error {
		was, seq, err := lastPruning(ctx, s)
		if err != nil && seq == 0 {
			return err // nothing is known; what can't be read may be replaced
		}
		if err == nil && was == p {
			return nil
		}
		if seq == math.MaxUint64 {
			return errNoSeq
		}
		return ses.Commit(ctx, appendSeq(seqPrefix(pruningPrefix, ""), seq+1), body)
	})
}
