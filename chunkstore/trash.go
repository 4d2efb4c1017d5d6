package chunkstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

func trashKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyTrash}, n) }

func trashValue(t time.Time) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(t.Unix()))
}

// trash lists the packs that are in the trash, or on their way there, and since
// when. A pack that the index knows is none of them, whatever else is said of it.
func (s *Store) trash() (map[uint64]time.Time, error) {
	all := map[uint64]time.Time{}
	err := s.eachKey(context.Background(), keyTrash, func(k, v []byte) error {
		if len(k) != 8 || len(v) != 8 {
			return nil
		}
		n := binary.BigEndian.Uint64(k)
		used, err := s.knows(n)
		if err == nil && !used {
			all[n] = time.Unix(int64(binary.LittleEndian.Uint64(v)), 0)
		}
		return err
	})
	return all, err
}

// isTrashed reports whether pack n is in the trash or on its way there.
func (s *Store) isTrashed(n uint64) (bool, error) {
	_, closer, err := s.index.Get(trashKey(n))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up pack %016x in the trash: %w", n, err)
	}
	return true, closer.Close()
}

// finishTrash moves to the trash what a crash left among the packs. A pack that
// can't be moved is left; nothing reads it.
func (s *Store) finishTrash() error {
	all, err := s.trash()
	if err != nil {
		return err
	}
	for n := range all {
		if err := s.media.Trash(packName(n)); err != nil {
			s.log.Warn("a pack could not be moved to the trash; the next prune tries again", "pack", packName(n), "err", err)
		}
	}
	return nil
}

// emptyTrash deletes the packs that were in the trash for as long as grace; 0
// means all of them. Nothing refers to them, so the clock only delays.
func (s *Store) emptyTrash(ctx context.Context, grace time.Duration, r *PruneReport) error {
	if err := s.finishTrash(); err != nil {
		return err
	}
	all, err := s.trash()
	if err != nil {
		return err
	}
	now := time.Now()
	there := map[uint64]bool{}
	err = s.media.Trashed(func(name string, size int64) error {
		n, ok := parsePackName(name)
		if !ok {
			return ctx.Err()
		}
		since, known := all[n]
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
			since, all[n] = now, now
			if err := s.index.Set(trashKey(n), trashValue(now), pebble.NoSync); err != nil {
				return fmt.Errorf("remember trash: %w", err)
			}
		}
		there[n] = true
		if grace > 0 && now.Sub(since) < grace {
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
	if err != nil {
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
