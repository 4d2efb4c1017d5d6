package heal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
)

// State returns what is known of a version's soundness.
func State(store *chunkstore.Store, vm, id string) (chunkstore.RootState, error) {
	return store.RootState(catalog.RootName(vm, id))
}

// markHurt marks the versions that use damaged chunks.
func markHurt(store *chunkstore.Store, hurt *HurtReport, when time.Time) error {
	for k, lost := range hurt.versions {
		st := chunkstore.RootState{State: chunkstore.Incomplete, When: when}
		if lost {
			st.State = chunkstore.Hurt
		}
		if err := store.SetRootState(catalog.RootName(k[0], k[1]), st); err != nil {
			return err
		}
	}
	for k := range hurt.unfit {
		st := chunkstore.RootState{State: chunkstore.Hurt, When: when, Lasting: true}
		if err := store.SetRootState(catalog.RootName(k[0], k[1]), st); err != nil {
			return err
		}
	}
	return nil
}

// markAll marks every version after a scrub of the whole store: damaged where
// it uses a damaged chunk, valid where all packs were proved since it was
// captured. One that came meanwhile, with an older time of capture as a replicated one has,
// is left as it is: its packs are proved by nobody yet.
func (s *scrub) markAll(ctx context.Context, hurt *HurtReport) error {
	if err := markHurt(s.store, hurt, s.began); err != nil {
		return err
	}
	oldest := s.began
	unproved, fresh := false, map[uint64]bool{}
	err := s.store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		switch {
		case p.Proof.Result == chunkstore.PackUnproved || p.Proof.Result == chunkstore.PackUnreadable:
			unproved = unproved || p.Proof.Result == chunkstore.PackUnreadable
			if !s.made[p.Number] {
				fresh[p.Number] = true
			}
		case p.Proof.When.Before(oldest):
			oldest = p.Proof.When
		}
		return nil
	})
	if err != nil || unproved {
		return err
	}
	w := s.newWalk()
	return w.versions(ctx, "", func(v version, err error) error {
		k := [2]string{v.vm, v.id}
		if _, is := hurt.versions[k]; is || hurt.unfit[k] || err != nil || v.Captured.After(oldest.Add(time.Second)) {
			return nil
		}
		if st, err := State(s.store, v.vm, v.id); err != nil || st.Lasting {
			return err // its maps do not fit, which a validation alone tells
		}
		if came, err := s.liesIn(ctx, v, fresh); err != nil || came {
			return err
		}
		return s.store.SetRootState(catalog.RootName(v.vm, v.id), chunkstore.RootState{State: chunkstore.Valid, When: s.began})
	})
}

// liesIn reports whether the manifest of a version lies in one of the packs, or nowhere.
func (s *scrub) liesIn(ctx context.Context, v version, packs map[uint64]bool) (bool, error) {
	if len(packs) == 0 {
		return false, nil
	}
	id, err := s.store.RootID(ctx, catalog.RootName(v.vm, v.id))
	if errors.Is(err, chunkstore.ErrNotFound) {
		return true, nil // forgotten meanwhile
	}
	if err != nil {
		return false, err
	}
	n, known, err := s.store.PackOf(id)
	return packs[n] || !known, err
}

// VerifyReport is the result of a validation.
type VerifyReport struct {
	VM       string     `json:"vm"`
	Version  string     `json:"version"`
	State    string     `json:"state"` // valid, damaged or incomplete
	Packs    int        `json:"packs"` // that were proved now
	Proved   int        `json:"proved_before"`
	Hurt     HurtReport `json:"hurt"`                     // chunks of the version, and packs that it uses; these also where it is valid
	Problems []string   `json:"problems"`                 // maps that do not fit
	Changed  bool       `json:"changed,omitempty"`        // it is incomplete as the store changed meanwhile, each time that it was looked at
	LeftOut  int64      `json:"left_out_bytes,omitempty"` // of what was compared, that the source has and the guest does not use
	Comparison
}

// Words says it in one sentence.
func (r *VerifyReport) Words() string {
	switch r.State {
	case chunkstore.Valid.String():
		return fmt.Sprintf("version %s of %q is valid", r.Version, r.VM)
	case chunkstore.Hurt.String():
		return fmt.Sprintf("version %s of %q contains corrupt or missing data", r.Version, r.VM)
	}
	if r.Changed {
		return fmt.Sprintf("validation of version %s of %q was not completed: chunks of it were moved, or damage in its packs was found or mended, meanwhile", r.Version, r.VM)
	}
	return fmt.Sprintf("validation of version %s of %q was not completed: the storage could not be read", r.Version, r.VM)
}
