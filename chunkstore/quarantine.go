package chunkstore

import (
	"context"
	"slices"
)

// EventDeleted says that a pack in quarantine was deleted.
const EventDeleted = "deleted"

// Quarantined lists the packs in quarantine by the names of their files.
func (s *Store) Quarantined() (names []string, err error) {
	err = s.media.Quarantined(func(name string, _ int64) error {
		names = append(names, name)
		return nil
	})
	return names, err
}

// DropQuarantined deletes those of the packs in quarantine that are named, and
// says so in the log of heals first. It returns how many they were and what they
// took.
func (s *Store) DropQuarantined(ctx context.Context, names []string) (count int, size int64, err error) {
	err = s.media.Quarantined(func(name string, n int64) error {
		if !slices.Contains(names, name) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.LogHeal(Event{Event: EventDeleted, Pack: name, Text: "the store was proved whole without it"}); err != nil {
			return err
		}
		if err := s.media.DeleteQuarantined(name); err != nil {
			return err
		}
		count, size = count+1, size+n
		return nil
	})
	return count, size, err
}
