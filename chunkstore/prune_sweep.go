package chunkstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// sweep removes the packs that the plan names, a group at a time.
func (p *pruner) sweep(ctx context.Context) error {
	p.phase("repack", 0)
	condemned, err := p.condemnedChunks(ctx)
	if err != nil {
		return err
	}
	all, err := p.shares(ctx, condemned.has)
	if cerr := condemned.it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	groups, left := p.rules().plan(all)
	// A pack that is left to a scrub may hold a second record of a dropped root.
	p.left = left > 0 || slices.ContainsFunc(all, func(s *packShare) bool { return s.skip && (s.stale() || s.live == 0) })
	for _, g := range groups {
		p.opts.Progress.Total.Add(g.live())
	}
	return p.moveAll(ctx, groups)
}

// moveAll moves groups of packs. Where the disk is too full for the copies of one
// it first removes all that cost nothing.
func (p *pruner) moveAll(ctx context.Context, groups []group) error {
	var later []group
	for _, g := range groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(later) > 0 && g.live() > 0 {
			later = append(later, g)
		} else if err := p.move(ctx, g); errors.Is(err, syscall.ENOSPC) {
			later = append(later, g)
		} else if err != nil {
			return err
		}
	}
	return p.moveOneByOne(ctx, later)
}

// moveOneByOne moves the packs of groups for which there was no room, those
// first that need least of it. What each leaves is free at once only where
// nothing stays in the trash.
func (p *pruner) moveOneByOne(ctx context.Context, groups []group) error {
	all := slices.Concat(groups...)
	slices.SortFunc(all, func(a, b *packShare) int { return cmp.Or(cmp.Compare(a.live, b.live), cmp.Compare(a.number, b.number)) })
	for i, share := range all {
		if p.opts.Grace == 0 {
			if err := p.emptyTrash(ctx, 0, p.report); err != nil {
				return err
			}
		}
		if err := p.move(ctx, group{share}); errors.Is(err, syscall.ENOSPC) {
			p.report.PutOff += len(all) - i
			return errNoRoom
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (p *pruner) rules() planRules {
	return planRules{packSize: p.size, maxUnused: p.opts.MaxUnused, maxRepack: p.opts.MaxRepack}
}

// move removes a group of packs: what is alive in them is copied to a new pack
// first.
func (p *pruner) move(ctx context.Context, g group) error {
	m := &mover{pruner: p}
	defer m.release()
	for _, share := range g {
		if !p.using.tryLock(share.number) {
			p.report.PutOff++ // a scrub is at it
			continue
		}
		m.sources = append(m.sources, &source{packShare: share})
	}
	for _, src := range m.sources {
		if err := m.copyPack(ctx, src); err != nil {
			return errors.Join(err, m.abandon())
		}
	}
	if err := m.publish(ctx); err != nil {
		return err
	}
	moved := trashed{time.Now(), true, p.opts.Grace}
	var left []uint64
	for _, src := range m.sources {
		if src.keep {
			p.report.Kept = append(p.report.Kept, packName(src.number))
			p.left = true // as what is left to a scrub by the plan
			continue
		}
		if src.stays {
			p.report.PutOff++
			continue
		}
		p.report.Packs++
		p.report.PackBytes += int64(src.size)
		p.files.drop(src.number)
		if err := p.media.Trash(packName(src.number)); err != nil {
			return errors.Join(err, p.setTrashed(moved, left...))
		}
		left = append(left, src.number)
	}
	return p.setTrashed(moved, left...)
}

// dryRun says what a prune would do. It changes nothing.
func (p *pruner) dryRun(ctx context.Context) error {
	doomed := map[string]bool{}
	if p.opts.Doomed != nil {
		p.rootMu.RLock() // nothing is dropped by what is told here
		names, err := p.opts.Doomed(ctx, allRoots{p.Store})
		p.rootMu.RUnlock()
		if err != nil {
			return fmt.Errorf("find what to drop: %w", err)
		}
		for _, name := range names {
			if _, err := p.Root(ctx, name); err == nil {
				doomed[name] = true
				p.report.Dropped = append(p.report.Dropped, name)
			}
		}
		p.report.Roots = len(doomed)
	}
	look, err := p.lookAt(ctx, "prune-look", func(name string) bool { return doomed[name] })
	if err != nil {
		return err
	}
	defer look.remove()
	p.report.Walked, p.report.Maps = look.walked, look.maps
	live, err := look.spill.sorted()
	if err != nil {
		return err
	}
	defer live.close()
	p.phase("condemn", 0)
	all, err := p.shares(ctx, func(id ID, at place) (bool, error) {
		used, err := live.has(prefixOf(id))
		if err == nil && !used {
			p.report.DeadChunks++
			p.report.DeadBytes += int64(at.recordLen())
		}
		return !used, err
	})
	if err != nil {
		return err
	}
	groups, _ := p.rules().plan(all)
	p.foretell(groups)
	return p.foretellTrash()
}

// foretell counts what the groups would do.
func (p *pruner) foretell(groups []group) {
	for _, g := range groups {
		for _, share := range g {
			p.report.Packs++
			p.report.PackBytes += int64(share.size)
		}
		if n := g.live(); n > 0 {
			p.report.NewPacks++
			p.report.NewBytes += n
		}
	}
	p.report.Complete = true
}

func (p *pruner) foretellTrash() error {
	all, err := p.trash()
	if err != nil {
		return err
	}
	return p.media.Trashed(func(name string, size int64) error {
		n, _ := parsePackName(name)
		if t, known := all[n]; known && time.Since(t.since) >= p.opts.Grace {
			p.report.DeletedPacks++
			p.report.FreedBytes += size
			return nil
		}
		p.report.TrashPacks++
		p.report.TrashBytes += size
		return nil
	})
}
