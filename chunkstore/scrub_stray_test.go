package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// TestStrayRecordsGoAlong has the index lead to a whole record where the footer names
// another: it is proved there, what was unreadable of it is forgotten, and when the
// rest of the pack has come back elsewhere a repair takes it along.
func TestStrayRecordsGoAlong(t *testing.T) {
	fsys, ctx := vfs.NewMem(), context.Background()
	if _, err := Create("/store", CreateOptions{FS: fsys, NoParity: true}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, fsys, 0)
	long, short := chunkOf(1, 60000), chunkOf(2, 20000)
	ses := begin(t, s)
	a, b := mustPut(t, s, ses, pack.KindData, long), mustPut(t, s, ses, pack.KindData, short)
	if err := ses.Commit(ctx, "v", nil); err != nil {
		t.Fatal(err)
	}
	saved := record(s, pack.KindData, long)
	atA, _, err := s.lookup(a)
	atB, _, err2 := s.lookup(b)
	if err := errors.Join(err, err2, s.Close()); err != nil || atA.pack != atB.pack {
		t.Fatal(err)
	}
	hurtPacks(t, fsys, func(p []byte) []byte {
		if len(p) < int(atB.offset)+atB.recordLen() {
			return p // not theirs
		}
		rec := bytes.Clone(p[atB.offset:][:atB.recordLen()])
		copy(p[atB.offset:], p[atA.offset:][:len(rec)])
		copy(p[atA.offset:], rec)
		return p
	})

	s = openStore(t, fsys, 0)
	atB.offset = atA.offset
	if err := s.index.Set(chunkKey(b), atB.append(nil), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.noteDamage(&pack.Damage{ID: b, Kind: pack.Unreadable, Pack: atB.pack, Offset: int64(atB.offset), Length: atB.recordLen()}); err != nil {
		t.Fatal(err)
	}
	prove := func() PackReport {
		t.Helper()
		r, err := s.ProvePack(ctx, atA.pack, ProveOptions{Deep: true, Expect: NoPlaces, Fix: true})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := prove(); len(r.Bad) != 1 || r.Bad[0].ID != a {
		t.Fatalf("found %+v", r.Bad)
	}
	if d, ok, err := s.damageOf(b); ok || err != nil {
		t.Errorf("the stray is still told of: %+v, %v", d, err)
	}
	if h, err := s.StoreAnew(ctx, "replica", []ID{a}, [][]byte{saved.Bytes}); err != nil || h.Chunks != 1 {
		t.Fatal(h, err)
	}
	if done, err := s.RepairPack(ctx, prove(), nil); err != nil || done.Kept != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if moved, err := s.FinishRepairs(ctx); err != nil || len(moved) != 1 {
		t.Fatalf("in quarantine are %v, %v", moved, err)
	}
	mustGet(t, s, a, long)
	mustGet(t, s, b, short)
}

// TestStraySumIsDamage takes a pack's footer and one byte of a record's sum away: the record
// is damage that another store mends, and the repair, which moves stored bytes as they are,
// ends. The repair failed for good where the plain bytes alone were proved.
func TestStraySumIsDamage(t *testing.T) {
	for format := 1; format <= FormatVersion; format++ {
		fsys, ctx := vfs.NewMem(), context.Background()
		if _, err := Create("/store", CreateOptions{FS: fsys, NoParity: true, Format: format}); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, fsys, 0)
		first, second := chunkOf(1, 60000), chunkOf(2, 20000)
		ses := begin(t, s)
		a, b := mustPut(t, s, ses, pack.KindData, first), mustPut(t, s, ses, pack.KindData, second)
		if err := ses.Commit(ctx, "v", nil); err != nil {
			t.Fatal(err)
		}
		saved := record(s, pack.KindData, first)
		at, _, err := s.lookup(a)
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		hurtPacks(t, fsys, func(p []byte) []byte {
			if len(p) < int(at.offset)+at.recordLen() {
				return p // not theirs
			}
			p[int(at.offset)+pack.RecordHeaderLen-1] ^= 1
			clear(p[len(p)-pack.TrailerLen:])
			return p
		})

		s = openStore(t, fsys, 0)
		prove := func() PackReport {
			t.Helper()
			r, err := s.ProvePack(ctx, at.pack, ProveOptions{Fix: true})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := prove(); len(r.Bad) != 1 || r.Bad[0].ID != a {
			t.Fatalf("format %d: found %+v", format, r.Bad)
		}
		if h, err := s.StoreAnew(ctx, "replica", []ID{a}, [][]byte{saved.Bytes}); err != nil || h.Chunks != 1 {
			t.Fatal(h, err)
		}
		if done, err := s.RepairPack(ctx, prove(), nil); err != nil || done.Kept != 1 {
			t.Fatalf("format %d: %+v, %v", format, done, err)
		}
		if moved, err := s.FinishRepairs(ctx); err != nil || len(moved) != 1 {
			t.Fatalf("format %d: in quarantine are %v, %v", format, moved, err)
		}
		mustGet(t, s, a, first)
		mustGet(t, s, b, second)
	}
}
