package heal

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// Verify proves one version now: its maps fit each other, every chunk that they
// name is there, and each one's pack is proved, unless it was since the version
// was captured; deep, every such pack is proved anew by decoding. The result
// becomes the version's state.
func Verify(ctx context.Context, store *chunkstore.Store, v *catalog.Version, opts Options) (*VerifyReport, error) {
	opts.fill()
	began := time.Now()
	r := &VerifyReport{VM: v.VM, Version: v.ID, Problems: []string{}}
	if err := verify(ctx, store, v, opts, r); err != nil {
		return nil, fmt.Errorf("verify version %s of %q: %w", v.ID, v.VM, err)
	}
	st := chunkstore.RootState{State: chunkstore.Valid, When: began}
	for _, c := range r.Hurt.Chunks {
		if c.Kind != pack.Unreadable.String() {
			st.State = chunkstore.Hurt
		} else if st.State == chunkstore.Valid {
			st.State = chunkstore.Incomplete
		}
	}
	if len(r.Problems) > 0 {
		st.State, st.Lasting = chunkstore.Hurt, true
	}
	r.State = st.State.String()
	return r, store.SetRootState(catalog.RootName(v.VM, v.ID), st)
}

func verify(ctx context.Context, store *chunkstore.Store, v *catalog.Version, opts Options, r *VerifyReport) error {
	w := newWalk(store)
	used := map[uint64]bool{}
	if err := w.packs(ctx, version{v.VM, v.ID, v}, used); err != nil {
		return err
	}
	if err := provePacks(ctx, store, v, used, opts, r); err != nil {
		return err
	}
	hurt, err := hurtOf(ctx, store, v, nil)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Problems = append(r.Problems, err.Error())
	}
	r.Hurt = HurtReport{Chunks: []HurtChunk{}, Packs: []HurtPack{}, Manifests: []string{}}
	if hurt != nil {
		for _, c := range hurt.Chunks {
			if len(c.Uses) > 0 { // others' damage is not this version's
				r.Hurt.Chunks = append(r.Hurt.Chunks, c)
			}
		}
	}
	if len(r.Hurt.Chunks) > 0 || len(r.Problems) > 0 {
		return nil
	}
	for i := range v.Disks {
		rd, err := disk.Open(nil, w.maps, v.Disks[i].Map)
		if err == nil {
			err = rd.Check(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("disk %q: %v", v.Disks[i].Name, err))
		}
	}
	return nil
}

// provePacks proves the packs that were not proved since the capture.
func provePacks(ctx context.Context, store *chunkstore.Store, v *catalog.Version, used map[uint64]bool, opts Options, r *VerifyReport) error {
	places, err := store.CountPlaces(ctx)
	if err != nil {
		return err
	}
	pc := newPace(opts.Rate)
	var todo []chunkstore.KnownPack
	err = store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		if !used[p.Number] {
			return nil
		}
		if !opts.Deep && p.Proof.Result == chunkstore.PackWhole && p.Proof.When.After(v.Captured) {
			r.Proved++
			return nil
		}
		todo = append(todo, p)
		opts.Progress.Total.Add(p.Size)
		return nil
	})
	if err != nil {
		return err
	}
	gone := map[uint64]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cores())
	missing := make([]bool, len(todo))
	for i, p := range todo {
		g.Go(func() error {
			wrap := func(in io.ReaderAt) io.ReaderAt { return &paced{in, gctx, pc, opts.Progress} }
			found, err := store.ProvePack(gctx, p.Number, chunkstore.ProveOptions{Deep: opts.Deep, Expect: places[p.Number], Workers: cores(), Reader: wrap})
			missing[i] = found.Missing
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, p := range todo {
		if missing[i] {
			gone[p.Number] = true
		}
	}
	r.Packs = len(todo)
	if len(gone) == 0 {
		return nil
	}
	return store.NoteLost(ctx, gone, func(chunkstore.DamagedChunk) {})
}
