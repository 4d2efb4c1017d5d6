package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// DefaultGrace is how long a pack stays in the trash of which nothing else is
// known.
const DefaultGrace = 24 * time.Hour

// trashed is what the index remembers of a pack that is in the trash, or on its
// way there.
type trashed struct {
	since time.Time
	// moved says that its file has left the packs. One that is among them
	// later was brought back by somebody, and is no trash: a crash leaves only
	// packs that were not moved yet.
	moved bool
	grace time.Duration // after which a process that stays up deletes it
}

const (
	trashLen   = 8 + 8 + 1
	trashMoved = 1
)

func trashKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyTrash}, n) }

func (t trashed) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.since.Unix()))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.grace))
	if t.moved {
		return append(b, trashMoved)
	}
	return append(b, 0)
}

func parseTrashed(b []byte) (t trashed, ok bool) {
	if len(b) != trashLen {
		return trashed{}, false
	}
	since, grace := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	return trashed{time.Unix(since, 0), b[16] == trashMoved, time.Duration(max(grace, 0))}, true
}

// trash lists the packs that are in the trash, or on their way there. A pack that
// the index knows is none of them, whatever else is said of it.
func (s *Store) trash() (map[uint64]trashed, error) {
	all := map[uint64]trashed{}
	err := s.eachKey(context.Background(), keyTrash, func(k, v []byte) error {
		t, ok := parseTrashed(v)
		if !ok || len(k) != 8 {
			return nil
		}
		n := binary.BigEndian.Uint64(k)
		used, err := s.knows(n)
		if err == nil && !used {
			all[n] = t
		}
		return err
	})
	return all, err
}

// setTrashed remembers durably what is known of packs in the trash. That their files
// have left for it must not be forgotten: one that is among the packs after a crash
// would else be taken for one that never left, also when it came back from a backup.
func (s *Store) setTrashed(t trashed, packs ...uint64) error {
	if len(packs) == 0 {
		return nil
	}
	b := s.index.NewBatch()
	defer b.Close()
	for _, n := range packs {
		if err := b.Set(trashKey(n), t.append(nil), nil); err != nil {
			return fmt.Errorf("remember pack %016x in the trash: %w", n, err)
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("remember %d packs in the trash: %w", len(packs), err)
	}
	return nil
}

// isTrashed reports whether pack n is in the trash or on its way there.
func (s *Store) isTrashed(n uint64) (bool, error) {
	is, err := s.hasKey(trashKey(n))
	if err != nil {
		return false, fmt.Errorf("look up pack %016x in the trash: %w", n, err)
	}
	return is, nil
}

// finishTrash moves to the trash what a crash left among the packs. A pack that
// can't be moved is left; nothing reads it. One that was moved before and is among
// the packs again came back from a backup, maybe with versions that need it: it is
// a pack like any other that the index does not know.
func (s *Store) finishTrash() error {
	all, err := s.trash()
	if err != nil {
		return err
	}
	for n, t := range all {
		if !t.moved {
			s.moveToTrash(n, t)
			continue
		}
		if !s.isThere(n) {
			continue
		}
		s.log.Warn("a pack that was in the trash is among the packs again; it is kept", "pack", packName(n))
		if err := s.index.Delete(trashKey(n), pebble.Sync); err != nil {
			return fmt.Errorf("take pack %016x out of the trash: %w", n, err)
		}
	}
	return nil
}

// moveToTrash moves a pack's file, of which the index says that it is trash.
func (s *Store) moveToTrash(n uint64, t trashed) {
	err := s.media.Trash(packName(n))
	if err == nil {
		t.moved = true
		err = s.setTrashed(t, n)
	}
	if err != nil {
		s.log.Warn("a pack could not be moved to the trash; the next prune tries again", "pack", packName(n), "err", err)
	}
}

// EmptyTrash deletes what has been in the trash for as long as the prune said that
// moved it there. Beside a prune or a check it returns ErrPruning; where a prune would
// refuse, because it is not known what versions need, the trash stays as it is.
func (s *Store) EmptyTrash(ctx context.Context) (packs int, bytes int64, err error) {
	if !s.pruning.running.TryLock() {
		return 0, 0, ErrPruning
	}
	defer s.pruning.running.Unlock()
	r := new(PruneReport)
	if all, err := s.trash(); err != nil || len(all) > 0 {
		p := &pruner{Store: s, report: r}
		if err == nil {
			err = p.allKnown()
		}
		if err == nil {
			err = p.noneLost(ctx)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("the trash stays as it is: %w", err)
		}
	}
	if err := s.deleteTrash(ctx, func(t trashed) time.Duration { return t.grace }, r); err != nil {
		return r.DeletedPacks, r.FreedBytes, fmt.Errorf("empty the trash: %w", err)
	}
	return r.DeletedPacks, r.FreedBytes, nil
}

// emptyTrash deletes the packs that were in the trash for as long as grace; 0
// means all of them.
func (s *Store) emptyTrash(ctx context.Context, grace time.Duration, r *PruneReport) error {
	return s.deleteTrash(ctx, func(trashed) time.Duration { return grace }, r)
}

// deleteTrash deletes the packs that were in the trash for their grace. Nothing
// refers to them, so the clock only delays.
func (s *Store) deleteTrash(ctx context.Context, graceOf func(trashed) time.Duration, r *PruneReport) error {
	if err := s.finishTrash(); err != nil {
		return err
	}
	all, err := s.trash()
	if err != nil {
		return err
	}
	r.TrashPacks, r.TrashBytes = 0, 0
	now := time.Now()
	there := map[uint64]bool{}
	var found []uint64
	err = s.media.Trashed(func(name string, size int64) error {
		n, ok := parsePackName(name)
		if !ok {
			return ctx.Err()
		}
		t, known := all[n]
		if used, err := s.knows(n); err != nil {
			return err
		} else if used {
			// It was copied back, or the store was copied while a prune ran:
			// what the index leads to may be this very file.
			s.log.Warn("a pack that is in use has its name in the trash, too; it is left there", "pack", name)
			r.TrashPacks++
			r.TrashBytes += size
			return ctx.Err()
		}
		if !known { // the index was made anew meanwhile
			t = trashed{since: now, moved: true, grace: DefaultGrace}
		}
		there[n] = true
		if grace := graceOf(t); grace > 0 && now.Sub(t.since) < grace {
			if !known {
				found = append(found, n)
			}
			r.TrashPacks++
			r.TrashBytes += size
			return ctx.Err()
		}
		s.files.drop(n)
		if err := s.media.DeleteTrashed(name); err != nil {
			return err
		}
		delete(there, n)
		r.DeletedPacks++
		r.FreedBytes += size
		return ctx.Err()
	})
	if err := errors.Join(err, s.setTrashed(trashed{now, true, DefaultGrace}, found...)); err != nil {
		return err
	}
	for n := range all {
		if there[n] || s.isThere(n) {
			continue
		}
		if err := s.index.Delete(trashKey(n), pebble.NoSync); err != nil {
			return fmt.Errorf("forget trash: %w", err)
		}
	}
	return nil
}
