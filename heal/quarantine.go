package heal

import (
	"context"

	"holdfast/chunkstore"
)

// A pack that a repair has replaced stays in quarantine until a scrub of the
// whole store that began after that has found nothing wrong: then everything
// that it held is proved to be elsewhere, or to be needed by nobody.

// isFull reports whether a scrub proves every chunk of the store.
func (s *scrub) isFull() bool {
	return s.opts.Deep && s.opts.VM == "" && s.opts.OlderThan == 0 && !s.opts.DryRun
}

// leaveQuarantine deletes the packs that were in quarantine before the scrub, if
// it was a full one that found the store whole.
func (s *scrub) leaveQuarantine(ctx context.Context, old []string) (err error) {
	r := s.report
	if len(old) == 0 || !s.isFull() || len(r.Findings)+len(r.Chunks)+r.Unlisted+len(r.RepairErrors) > 0 || r.Left.Exists() {
		return nil
	}
	r.Dropped, r.DroppedBytes, err = s.store.DropQuarantined(ctx, old)
	return err
}

// leaveQuarantine does the same at the end of a cycle, in which every pack was
// proved and what is wrong was written down.
func (c *cycle) leaveQuarantine(ctx context.Context, store *chunkstore.Store, r *Report) error {
	if len(c.Quarantined) == 0 || len(r.Findings)+r.Unlisted+len(r.RepairErrors) > 0 || r.Left.Exists() {
		return nil
	}
	whole := true
	err := store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		whole = whole && p.Proof.Result == chunkstore.PackWhole
		return ctx.Err()
	})
	if err != nil || !whole {
		return err
	}
	_, _, err = store.DropQuarantined(ctx, c.Quarantined)
	return err
}
