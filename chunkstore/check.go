package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"holdfast/chunkstore/pack"
)

// CheckOptions say what a check looks at. The zero value looks at packs and
// index only.
type CheckOptions struct {
	Walk     WalkFunc            `json:"-"` // nil: it is not looked at what roots lead to
	Name     func(string) string `json:"-"` // words a root's name; nil: as it is
	Progress *PruneProgress      `json:"-"` // nil: not told
}

// Problem is an invariant that does not hold.
type Problem struct {
	Kind  string `json:"kind"` // pack, index, root, chunk, leftover
	Pack  string `json:"pack,omitempty"`
	Root  string `json:"root,omitempty"`
	Chunk string `json:"chunk,omitempty"`
	Text  string `json:"text"`
}

func (p Problem) String() string {
	text := p.Kind
	for _, where := range []string{p.Pack, p.Root, p.Chunk} {
		if where != "" {
			text += " " + where
		}
	}
	return text + ": " + p.Text
}

// CheckReport is what a check found.
type CheckReport struct {
	Packs    int           `json:"packs"`
	Records  int64         `json:"records"`
	Chunks   int64         `json:"chunks"` // in the index
	Roots    int64         `json:"roots"`
	Maps     int64         `json:"maps"`
	Unused   int64         `json:"unused_chunks"` // that no root leads to: the next prune's; -1: not looked at
	Known    int64         `json:"known_damage"`  // damaged chunks, which are no problem of their own
	Problems []Problem     `json:"problems"`
	Unlisted int           `json:"unlisted"` // problems beyond the list's bound
	Duration time.Duration `json:"duration_ns"`
}

// Sound reports whether every invariant holds.
func (r *CheckReport) Sound() bool { return len(r.Problems) == 0 }

// maxProblems bounds the problems that are listed one by one.
const maxProblems = 1000

func (r *CheckReport) add(p Problem) {
	if len(r.Problems) >= maxProblems {
		r.Unlisted++
		return
	}
	r.Problems = append(r.Problems, p)
}

// Check proves the store's invariants, without reading data: each pack's footer
// agrees with what the index says of the pack; the index leads to records and
// nowhere else, and to each record's chunk; each root's record is there; every
// chunk that a root leads to is in the index, with a record in a pack that is
// there; nothing is left of uploads, prunes and repairs that nobody is at. Damage
// that is known is told and not a problem of its own: see Damage.
//
// It holds what a prune holds, and one footer. Captures and reads may run beside
// it; a prune may not.
func Check(ctx context.Context, s *Store, opts CheckOptions) (*CheckReport, error) {
	if !s.pruning.running.TryLock() {
		return nil, ErrPruning
	}
	defer s.pruning.running.Unlock()
	if opts.Progress == nil {
		opts.Progress = new(PruneProgress)
	}
	if opts.Name == nil {
		opts.Name = func(n string) string { return n }
	}
	began := time.Now()
	p := &pruner{Store: s, opts: PruneOptions{Walk: opts.Walk, Progress: opts.Progress}, report: new(PruneReport)}
	c := &checker{pruner: p, opts: opts, CheckReport: &CheckReport{Problems: []Problem{}, Unused: -1}}
	err := c.run(ctx)
	c.Duration = time.Since(began)
	if err != nil {
		return c.CheckReport, fmt.Errorf("check: %w", err)
	}
	return c.CheckReport, nil
}

type checker struct {
	*pruner
	*CheckReport
	opts CheckOptions
}

func (c *checker) run(ctx context.Context) error {
	c.Known = c.damage.lost.Load() + c.damage.unread.Load()
	if err := c.packsAgree(ctx); err != nil {
		return err
	}
	if err := c.leftovers(ctx); err != nil {
		return err
	}
	return c.rootsAreWhole(ctx)
}

// packsAgree compares each pack with the index, and the index with the packs.
func (c *checker) packsAgree(ctx context.Context) error {
	lead, err := c.CountPlaces(ctx)
	if err != nil {
		return err
	}
	for _, p := range lead {
		c.Chunks += int64(p.Count)
	}
	known := map[uint64]packInfo{}
	var total int64
	if err := c.packs(ctx, func(n uint64, info packInfo) { known[n] = info; total += int64(info.records) }); err != nil {
		return err
	}
	c.phase("packs", total)
	for n, info := range known {
		if err := c.packAgrees(ctx, n, info, lead[n].Count); err != nil {
			return err
		}
	}
	for n, p := range lead {
		if _, is := known[n]; is {
			continue
		}
		if again, err := c.knows(n); err != nil {
			return err
		} else if !again {
			c.problem(n, Problem{Kind: "index", Text: fmt.Sprintf("%d entries lead to a pack that the index does not know", p.Count)})
		}
	}
	unknown, err := c.UnknownPacks(ctx)
	for _, n := range unknown {
		c.add(Problem{Kind: "pack", Pack: packHex(n), Text: "the index does not know this pack"})
	}
	return err
}

// problem adds a problem of a pack.
func (c *checker) problem(n uint64, p Problem) {
	p.Pack = packHex(n)
	c.add(p)
}

// packAgrees compares one pack with the index.
func (c *checker) packAgrees(ctx context.Context, n uint64, info packInfo, lead int) error {
	if err := c.using.lock(ctx, n); err != nil {
		return err
	}
	defer c.using.unlock(n)
	if known, err := c.knows(n); err != nil || !known {
		return err // repaired meanwhile
	}
	c.Packs++
	if c.isGone(n) && lead == 0 {
		return nil // nothing in it is missed
	}
	f, err := c.media.Open(packName(n))
	if err != nil {
		text := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			text = "the index knows this pack, and there is no such file"
		}
		c.problem(n, Problem{Kind: "pack", Text: text})
		return nil
	}
	defer f.Close()
	h, entries, err := pack.ReadFooter(f, f.Size())
	if err != nil {
		c.problem(n, Problem{Kind: "pack", Text: err.Error()})
		return nil
	}
	want := packInfo{class: h.Class, size: uint64(f.Size())}
	matched := 0
	for i, e := range entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		want.records++
		want.plain += uint64(e.PlainLen)
		want.stored += uint64(e.RecordLen())
		here, err := c.recordAgrees(n, e)
		if err != nil {
			return err
		}
		if here {
			matched++
		}
	}
	c.Records += int64(len(entries))
	c.step(int64(len(entries)))
	if h.Pack != n || h.Store != c.cfg.storeID() {
		c.problem(n, Problem{Kind: "pack", Text: fmt.Sprintf("its header is of pack %016x of store %x", h.Pack, h.Store)})
	}
	if want != info {
		c.problem(n, Problem{Kind: "pack", Text: fmt.Sprintf("the index says %+v, the pack %+v", info, want)})
	}
	if matched < lead {
		return c.tooMany(ctx, n, matched)
	}
	return nil
}

// tooMany counts the entries that lead to a pack again: some may have moved on.
func (c *checker) tooMany(ctx context.Context, n uint64, matched int) error {
	lead := 0
	err := c.chunksAt(ctx, func(at uint64) bool { return at == n }, func(ID, place) error { lead++; return nil })
	if err == nil && lead > matched {
		c.problem(n, Problem{Kind: "index", Text: fmt.Sprintf("%d entries lead into the pack where it has no record", lead-matched)})
	}
	return err
}

// recordAgrees reports whether the index leads to a record. One that is the only
// record of its chunk must be led to.
func (c *checker) recordAgrees(n uint64, e pack.Entry) (bool, error) {
	at, ok, err := c.lookup(e.ID)
	if err != nil {
		return false, err
	}
	if !ok {
		c.problem(n, Problem{Kind: "index", Chunk: e.ID.String(), Text: fmt.Sprintf("the index does not know the chunk at %d", e.Offset)})
	}
	return ok && at == place{n, e.Offset, e.PayloadLen}, nil
}
