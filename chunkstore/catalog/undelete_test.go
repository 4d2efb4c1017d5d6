package catalog

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// withData commits a version with one small disk of real chunks.
func withData(t *testing.T, s *chunkstore.Store, ses chunkstore.Session, vm string, when time.Time) *Version {
	t.Helper()
	plain := bytes.Repeat([]byte(vm+when.String()), 100)
	rec := s.Codec().Encode(nil, pack.KindData, s.Codec().ID(plain), plain)
	if _, err := ses.Put(ctx, []pack.Record{rec}); err != nil {
		t.Fatal(err)
	}
	b, err := disk.NewBuilder(1<<20, func(ctx context.Context, kind pack.Kind, plain []byte) (pack.ID, error) {
		id := s.Codec().ID(plain)
		_, err := ses.Put(ctx, []pack.Record{s.Codec().Encode(nil, kind, id, plain)})
		return id, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(ctx, 0, disk.RegionMap{{Off: 0, Len: len(plain), ID: rec.ID}}); err != nil {
		t.Fatal(err)
	}
	v := version(vm, when, "vda")
	if v.Disks[0].Map, err = b.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, ses, v)
	return v
}

func TestUndelete(t *testing.T) {
	s, ses := newStore(t)
	v := withData(t, s, ses, "web", at(0))
	mustCommit(t, ses, version("web", at(1), "vda"))
	must[[]string](t)(Forget(ctx, s, "web", v.ID, idAt(1)))
	back := must[[]string](t)(Undelete(ctx, s, "web", UndeleteOptions{}, v.ID))
	if !slices.Equal(back, []string{v.ID}) || !slices.Equal(ids(t, s, "web"), back) {
		t.Fatalf("back: %q, there: %q", back, ids(t, s, "web"))
	}
	if back := must[[]string](t)(Undelete(ctx, s, "web", UndeleteOptions{}, v.ID)); len(back) != 0 {
		t.Fatalf("undeleted twice: %q", back)
	}
	if _, err := Undelete(ctx, s, "web", UndeleteOptions{}, idAt(7)); !errors.Is(err, ErrNoVersion) {
		t.Fatal(err)
	}
}

// absent is a store in which some chunks are not found.
type absent struct {
	*chunkstore.Store
	gone func(pack.ID) bool
}

type absentSession struct {
	chunkstore.Session
	absent
}

func (a absent) Begin(ctx context.Context, what string) (chunkstore.Session, error) {
	ses, err := a.Store.Begin(ctx, what)
	return absentSession{ses, a}, err
}

func (a absent) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	if a.gone(id) {
		return nil, chunkstore.ErrNotFound
	}
	return a.Store.Get(ctx, id, buf)
}

func (a absentSession) Get(ctx context.Context, id pack.ID, buf []byte) ([]byte, error) {
	return a.absent.Get(ctx, id, buf)
}
func (a absentSession) ID(plain []byte) pack.ID { return a.Store.ID(plain) }
func (a absentSession) Has(ctx context.Context, ids []pack.ID, have []bool) error {
	err := a.Session.Has(ctx, ids, have)
	for i, id := range ids {
		have[i] = have[i] && !a.gone(id)
	}
	return err
}
func (a absentSession) Commit(ctx context.Context, name string, body []byte) error {
	return a.Session.Commit(ctx, name, body)
}
func (a absentSession) Close() error { return a.Session.Close() }

func TestUndeleteOfWhatWasPruned(t *testing.T) {
	s, ses := newStore(t)
	v := withData(t, s, ses, "web", at(0))
	must[[]string](t)(Forget(ctx, s, "web", v.ID))
	var parts []pack.ID
	r, err := disk.Open(nil, disk.NewMaps(s, 0), v.Disks[0].Map)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Parts(ctx, func(p disk.Part) (bool, error) { parts = append(parts, p.ID); return true, nil }); err != nil {
		t.Fatal(err)
	}
	if len(parts) < 3 {
		t.Fatalf("only %d parts", len(parts))
	}
	for i, id := range parts {
		without := absent{s, func(other pack.ID) bool { return other == id }}
		if _, err := Undelete(ctx, without, "web", UndeleteOptions{}, v.ID); !errors.Is(err, ErrPruned) {
			t.Errorf("without part %d: %v", i, err)
		}
	}
	if _, err := Get(ctx, s, "web", v.ID); !errors.Is(err, ErrForgotten) {
		t.Fatalf("a refused undelete: %v", err)
	}
	without := absent{s, func(other pack.ID) bool { return other == parts[0] }}
	must[[]string](t)(Undelete(ctx, without, "web", UndeleteOptions{Partly: true}, v.ID))
	must[*Version](t)(Get(ctx, s, "web", v.ID))
}

// TestUndeleteBesideAPruning lets a pruning come at each moment of an undelete,
// and the index be made anew then: the version is back, or forgotten for good.
func TestUndeleteBesideAPruning(t *testing.T) {
	for moment := range 5 {
		s := &fakeStore{roots: map[string]string{}, dropped: map[string]string{}}
		mustCommit(t, s, version("web", at(0), "vda"))
		must[[]string](t)(Forget(ctx, s, "web", idAt(0)))
		n := 0
		s.before = func() {
			if n == moment {
				for _, name := range must[[]string](t)(Doomed(ctx, inPacks{s})) {
					s.dropped[name] = s.roots[name]
					delete(s.roots, name)
				}
			}
			n++
		}
		back, err := Undelete(ctx, s, "web", UndeleteOptions{}, idAt(0))
		s.before = nil
		if moment < 4 && n <= moment {
			t.Fatalf("moment %d was not met", moment)
		}
		if err == nil && len(back) != 1 || err != nil && !errors.Is(err, ErrNoVersion) {
			t.Fatalf("moment %d: %q, %v", moment, back, err)
		}
		s.rebuild()
		if _, gerr := Get(ctx, s, "web", idAt(0)); (gerr == nil) != (err == nil) {
			t.Fatalf("moment %d: undelete %v, and after a rebuild: %v", moment, err, gerr)
		}
		if names := must[[]string](t)(Doomed(ctx, inPacks{s})); slices.Contains(names, rootName("web", idAt(0))) != (err != nil) {
			t.Fatalf("moment %d: undelete %v, and doomed: %q", moment, err, names)
		}
	}
}
