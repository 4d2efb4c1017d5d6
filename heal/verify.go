package heal

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
)

// verifyRounds bounds how often a version, or a disk of one, is looked at anew because
// something of it has changed meanwhile: damage in its packs was found, or what was
// lost has come back, or its chunks were moved.
const verifyRounds = 5

// Verify proves one version now: its maps fit each other, every chunk that they
// name is there, and each one's pack is proved, unless it was since the version
// was captured; deep, every such pack is proved anew by decoding. Where the index
// leads to a chunk is held against what was proved: what is called valid comes back
// when it is read. The result becomes the version's state.
func Verify(ctx context.Context, store *chunkstore.Store, v *catalog.Version, opts Options) (*VerifyReport, error) {
	opts.fill()
	began := time.Now()
	r := &VerifyReport{VM: v.VM, Version: v.ID, Problems: []string{}}
	p := &verifying{store: store, v: v, opts: opts, r: r, pace: newPace(opts.Rate), proved: map[uint64]bool{}}
	if err := p.run(ctx); err != nil {
		return nil, fmt.Errorf("verify version %s of %q: %w", v.ID, v.VM, err)
	}
	st := p.state()
	st.When, r.State = began, st.State.String()
	if r.Changed {
		return r, nil // what is known of the version stands
	}
	return r, store.SetRootState(catalog.RootName(v.VM, v.ID), st)
}

// verifying is the proof of one version.
type verifying struct {
	store  *chunkstore.Store
	v      *catalog.Version
	opts   Options
	r      *VerifyReport
	pace   *pace
	proved map[uint64]bool // packs, now
	used   map[uint64]bool // packs, in the last round
	found  int64           // finds of damage when that began
	all    bool            // the last round came to every chunk, and each came back
	hurts  bool            // something of the version is known to be hurt
	lost   bool            // and not only what can't be read
}

// state says what the version is.
func (p *verifying) state() chunkstore.RootState {
	switch {
	case len(p.r.Problems) > 0:
		return chunkstore.RootState{State: chunkstore.Hurt, Lasting: true}
	case p.lost:
		return chunkstore.RootState{State: chunkstore.Hurt}
	case p.hurts || !p.all || p.r.Changed:
		return chunkstore.RootState{State: chunkstore.Incomplete}
	}
	return chunkstore.RootState{State: chunkstore.Valid}
}

func (p *verifying) run(ctx context.Context) error {
	for again, n := true, 0; again; n++ {
		if n == verifyRounds {
			p.r.Changed = !p.hurts && len(p.r.Problems) == 0
			return nil
		}
		var err error
		if again, err = p.round(ctx); err != nil {
			return err
		}
		if again || p.hurts || len(p.r.Problems) > 0 {
			continue
		}
		if err := p.fit(ctx); err != nil {
			return err
		}
		// It reads all maps: others may have found damage, and marked the version, by now.
		again = p.store.FoundIn(p.used, p.found)
	}
	return nil
}

// round follows the version's maps, proves the packs that they lead to, and holds
// against them where the index has each chunk. It reports whether anything of the
// version has changed meanwhile; what others have found of theirs is no such change.
func (p *verifying) round(ctx context.Context) (again bool, err error) {
	p.found, _ = p.store.DamageChanges()
	leads := p.store.NewLeads()
	leads.Reader = func(r io.ReaderAt) io.ReaderAt { return &paced{r, ctx, p.pace, new(Progress)} }
	w := newWalk(p.store)
	all, err := w.leads(ctx, version{p.v.VM, p.v.ID, p.v}, leads)
	if err != nil {
		return false, err
	}
	pruned, err := p.provePacks(ctx, leads.Packs())
	if err != nil {
		return false, err
	}
	if err := leads.Check(ctx); err != nil {
		return false, err
	}
	p.used = leads.Packs()
	if err := p.hurt(ctx, p.used); err != nil {
		return false, err
	}
	p.all = all && !leads.Hurt
	if pruned || leads.Moved || p.store.FoundIn(p.used, p.found) {
		return true, nil
	}
	if !p.all && !p.hurts && len(p.r.Problems) == 0 {
		return true, nil // what did not come is known to come
	}
	return w.cameBack()
}

// hurt says what of the version is known to be hurt, and which packs that it uses.
func (p *verifying) hurt(ctx context.Context, used map[uint64]bool) error {
	p.r.Hurt = HurtReport{Chunks: []HurtChunk{}, Packs: []HurtPack{}, Manifests: []string{}}
	p.r.Problems = p.r.Problems[:0]
	hurt, err := hurtOf(ctx, p.store, p.v, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.r.Problems = append(p.r.Problems, err.Error())
	}
	if hurt == nil {
		p.hurts, p.lost = false, false
		return nil
	}
	p.lost, p.hurts = hurt.versions[[2]string{p.v.VM, p.v.ID}]
	for _, c := range hurt.Chunks {
		if len(c.Uses) > 0 { // others' damage is not this version's
			p.r.Hurt.Chunks = append(p.r.Hurt.Chunks, c)
		}
	}
	return p.store.HurtPacks(ctx, func(k chunkstore.KnownPack) {
		if used[k.Number] {
			p.r.Hurt.Packs = append(p.r.Hurt.Packs, viewHurtPack(k))
		}
	})
}

// fit says where the version's maps do not fit.
func (p *verifying) fit(ctx context.Context) error {
	maps := disk.NewMaps(p.store, 0)
	for i := range p.v.Disks {
		rd, err := disk.Open(nil, maps, p.v.Disks[i].Map)
		if err == nil {
			err = rd.Check(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.r.Problems = append(p.r.Problems, fmt.Sprintf("disk %q: %v", p.v.Disks[i].Name, err))
		}
	}
	return nil
}

// provePacks proves those of the packs that were not proved since the capture, nor in
// a round before. It reports whether a prune was quicker with any.
func (p *verifying) provePacks(ctx context.Context, used map[uint64]bool) (pruned bool, _ error) {
	var todo []chunkstore.KnownPack
	p.r.Proved = 0
	for _, n := range slices.Sorted(maps.Keys(used)) {
		if p.proved[n] {
			continue
		}
		k, ok, err := p.store.KnownPack(n)
		if err != nil {
			return false, err
		}
		switch {
		case !ok:
		case !p.opts.Deep && k.Proof.Result == chunkstore.PackWhole && k.Proof.When.After(p.v.Captured):
			p.r.Proved++
		default:
			todo = append(todo, k)
			p.opts.Progress.Total.Add(k.Size)
		}
	}
	gone := map[uint64]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cores())
	reports := make([]chunkstore.PackReport, len(todo))
	for i, k := range todo {
		g.Go(func() error {
			wrap := func(in io.ReaderAt) io.ReaderAt { return &paced{in, gctx, p.pace, p.opts.Progress} }
			var err error
			reports[i], err = p.store.ProvePack(gctx, k.Number, chunkstore.ProveOptions{Deep: p.opts.Deep, LeadsApart: true, Workers: cores(), Reader: wrap})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	for i, k := range todo {
		switch {
		case reports[i].Pruned:
			pruned = true
			continue
		case reports[i].Missing:
			gone[k.Number] = true
		}
		p.proved[k.Number] = true
	}
	p.r.Packs = len(p.proved)
	if len(gone) == 0 {
		return pruned, nil
	}
	return pruned, p.store.NoteLost(ctx, gone, func(chunkstore.DamagedChunk) {})
}
