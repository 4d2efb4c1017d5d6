package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

// A version whose pack can't be read at the moment is not seen. A prune must not
// take what it leads to for dead.
func TestNoPruneBesideAPackThatCannotBeRead(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 2)
	bad := packOfRoot(t, s, "b")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := readAll(t, fsys, bad)
	dropIndex(t, fsys)
	writeAll(t, fsys, bad, nil)
	s = openStore(t, fsys, 0)
	_, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s)})
	if err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Fatalf("a prune beside a pack that can't be read: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	writeAll(t, fsys, bad, whole)
	s = openStore(t, fsys, 0)
	checkVersions(t, s, w.committed, w.begun, "the pack is back")
	mustPrune(t, s, PruneOptions{})
	checkVersions(t, s, w.committed, w.begun, "pruned")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPruneKeepsWhatMayComeBack has an index made anew beside a pack of which neither
// the footer nor a record can be read. What it held is not known, so a prune leaves it
// where it is and names it, also when a scrub has looked at it; when its bytes are back
// every version is. A repair sets it aside, and then it is in nobody's way.
func TestPruneKeepsWhatMayComeBack(t *testing.T) {
	for _, meta := range []bool{false, true} {
		t.Run(fmt.Sprintf("meta %v", meta), func(t *testing.T) {
			fsys := vfs.NewMem()
			s := newStore(t, fsys, 0)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			w.mustWrite(t, s, "b", 2)
			bad := ""
			if meta {
				bad = packOfRoot(t, s, "b")
			} else {
				bad = inPacks(packName(dataPacks(t, s)[0]))
			}
			if err := s.Close(); err != nil || bad == "" {
				t.Fatal(bad, err)
			}
			hurtStores.Store(fsys, true)
			whole := readAll(t, fsys, bad)
			lost := bytes.Clone(whole)
			clear(lost[pack.HeaderLen:])
			writeAll(t, fsys, bad, lost)
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			opts := PruneOptions{Walk: walkTest(s)}
			if meta {
				if _, err := s.Prune(context.Background(), opts); !errors.Is(err, ErrLostRoots) {
					t.Errorf("a prune beside a pack that may hold versions: %v", err)
				}
				opts.GiveUpLost = true
			}
			n, _ := parsePackName(bad[strings.LastIndexByte(bad, '/')+1:])
			for _, proved := range []bool{false, true} {
				if proved {
					if _, err := s.ProvePack(context.Background(), n, ProveOptions{Expect: NoPlaces}); err != nil {
						t.Fatal(err)
					}
				}
				for _, opts.DryRun = range []bool{true, meta} { // a version that is given up is freed
					r, err := s.Prune(context.Background(), opts)
					if err != nil || !slices.Equal(r.Kept, []string{packName(n)}) {
						t.Errorf("proved %v, dry %v: kept %v, %v", proved, opts.DryRun, r, err)
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, fsys, bad); !bytes.Equal(got, lost) {
				t.Fatal("the pack was changed")
			}
			writeAll(t, fsys, bad, whole)
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			mustPrune(t, s, PruneOptions{})
			checkVersions(t, s, w.committed, w.begun, "its bytes are back")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			writeAll(t, fsys, bad, lost)
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			found, err := s.ProvePack(context.Background(), n, ProveOptions{Expect: NoPlaces})
			if err == nil {
				_, err = s.RepairPack(context.Background(), found, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			if moved, err := s.FinishRepairs(context.Background()); err != nil || moved[n] == "" {
				t.Fatalf("the pack is not set aside: %v, %v", moved, err)
			}
			if r, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s), GiveUpLost: true}); err != nil || len(r.Kept) > 0 {
				t.Errorf("set aside: kept %v, %v", r.Kept, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// badRecords makes reads of a pack's records fail, and of nothing else in it.
type badRecords struct {
	on   atomic.Bool
	path string
	to   int64 // where the records end
}

func (b *badRecords) error(op errorfs.Op) error {
	if b.on.Load() && op.Kind == errorfs.OpFileReadAt && op.Path == b.path && op.Offset >= pack.HeaderLen && op.Offset < b.to {
		return syscall.EIO
	}
	return nil
}

// begin says of which pack the records can't be read from now on.
func (b *badRecords) begin(t *testing.T, mem vfs.FS, n uint64) {
	t.Helper()
	b.path = inPacks(packName(n))
	whole := readAll(t, mem, b.path)
	_, entries, err := pack.ReadFooter(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b.to = max(b.to, int64(e.Offset)+int64(e.RecordLen()))
	}
	b.on.Store(true)
}

// unreadStore opens a store without parity in which records can be made unreadable.
func unreadStore(t *testing.T) (mem, fsys vfs.FS, s *Store, bad *badRecords) {
	t.Helper()
	mem, bad = vfs.NewMem(), new(badRecords)
	if _, err := Create("/store", CreateOptions{FS: mem, NoParity: true}); err != nil {
		t.Fatal(err)
	}
	fsys = errorfs.Wrap(mem, errorfs.InjectorFunc(bad.error))
	hurtStores.Store(fsys, true)
	return mem, fsys, openStore(t, fsys, 0), bad
}

// TestPruneKeepsWhatOnlyAFooterKnows has an index made anew beside a pack of which
// nothing could be read. Its footer is back and its records are not yet: what these
// are is not in the index, and a prune leaves the pack where it is.
func TestPruneKeepsWhatOnlyAFooterKnows(t *testing.T) {
	for _, eio := range []bool{true, false} {
		t.Run(fmt.Sprintf("eio %v", eio), func(t *testing.T) {
			mem, fsys, s, bad := unreadStore(t)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			w.mustWrite(t, s, "b", 2)
			n := dataPacks(t, s)[0]
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := inPacks(packName(n))
			whole := readAll(t, mem, path)
			lost := bytes.Clone(whole)
			clear(lost[pack.HeaderLen:])
			writeAll(t, mem, path, lost)
			dropIndex(t, mem)
			s = openStore(t, fsys, 0)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			hurt := bytes.Clone(whole)
			if !eio {
				hurt[pack.HeaderLen+pack.RecordHeaderLen] ^= 1
			}
			writeAll(t, mem, path, hurt)
			s = openStore(t, fsys, 0)
			if eio {
				bad.begin(t, mem, n)
			}
			for range 2 { // the second finds nothing new
				r := mustPrune(t, s, PruneOptions{})
				if !slices.Equal(r.Kept, []string{packName(n)}) || r.PutOff > 0 || !s.isThere(n) {
					t.Fatalf("a pack whose records can't be read: %+v", r)
				}
			}
			bad.on.Store(false)
			s.files.drop(n)
			if eio {
				if r := mustPrune(t, s, PruneOptions{}); len(r.Kept) > 0 || s.isThere(n) {
					t.Errorf("all is back: %+v", r)
				}
				checkVersions(t, s, w.committed, w.begun, "its records are back")
				return
			}
			// What stays damaged is in nobody's way when a repair has decided of it.
			found, err := s.ProvePack(t.Context(), n, ProveOptions{Deep: true, Fix: true, Expect: NoPlaces})
			if err == nil {
				_, err = s.RepairPack(t.Context(), found, nil)
			}
			if err == nil {
				_, err = s.FinishRepairs(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if r := mustPrune(t, s, PruneOptions{}); len(r.Kept) > 0 || s.isThere(n) {
				t.Errorf("repaired: %+v", r)
			}
		})
	}
}

// TestPruneAndSecondRecords has two records of each chunk, of which those that the index
// does not lead to can't be read. Their pack stays as long as they may be the only good
// ones of what is needed, and no longer.
func TestPruneAndSecondRecords(t *testing.T) {
	for _, c := range []struct {
		name       string
		lost, dead bool // of the records that the index leads to
		keep       bool
	}{
		{"the others are good", false, false, false},
		{"the others are lost", true, false, true},
		{"nobody needs them", true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem, _, s, bad := unreadStore(t)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			old := dataPacks(t, s)[0]
			lose := func() {
				t.Helper()
				places := map[ID]place{}
				if err := s.eachPlace(t.Context(), func(id ID, at place) error {
					if !slices.Contains(dataPacks(t, s), at.pack) {
						return nil
					}
					places[id] = at
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				for id, at := range places {
					if err := s.noteDamage(&pack.Damage{Kind: pack.Corrupt, ID: id, Pack: at.pack, Offset: int64(at.offset), Length: at.recordLen()}); err != nil {
						t.Fatal(err)
					}
				}
			}
			lose()
			w.mustWrite(t, s, "b", 1) // all of it is stored anew
			if c.lost {
				lose()
			}
			bad.begin(t, mem, old)
			opts := PruneOptions{}
			if c.dead {
				opts.Doomed = doom("a", "b")
			}
			r := mustPrune(t, s, opts)
			if there := s.isThere(old); there != c.keep || slices.Contains(r.Kept, packName(old)) != c.keep {
				t.Fatalf("is there %v, want %v: %+v", there, c.keep, r)
			}
			if c.dead && len(dataPacks(t, s)) > 0 {
				t.Errorf("nothing is needed, and packs stay: %+v", r)
			}
			if !c.keep {
				return
			}
			bad.on.Store(false)
			mustPrune(t, s, PruneOptions{})
			if s.isThere(old) {
				t.Error("its records could be read, and it stays")
			}
			if _, lost := s.DamageChanges(); lost > 0 {
				t.Errorf("%d chunks are lost", lost)
			}
			checkVersions(t, s, w.committed, w.begun, "its records are back")
		})
	}
}

// TestPruneLooksAgainAtAFooter: a footer that was read when the pack was judged and can't
// be read when it is to go keeps it, unless the index leads to all that fits into it.
func TestPruneLooksAgainAtAFooter(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	n := dataPacks(t, s)[0]
	info, _, err := s.packInfo(n)
	if err != nil {
		t.Fatal(err)
	}
	for entries, cause := range map[int]error{int(info.records): syscall.EIO, int(info.records) - 1: syscall.EIO, 0: fs.ErrNotExist} {
		m := &mover{pruner: &pruner{Store: s, report: new(PruneReport)}}
		src := &source{packShare: &packShare{number: n, packInfo: info, entries: entries}}
		if err := m.unreadable(t.Context(), src, cause); err != nil {
			t.Fatal(err)
		}
		if want := entries == int(info.records)-1; src.stays != want || src.keep != want {
			t.Errorf("%d of %d records are known, %v: stays %v, keep %v", entries, info.records, cause, src.stays, src.keep)
		}
	}
}

// dataPacks lists the packs of data that the index knows.
func dataPacks(t *testing.T, s *Store) (all []uint64) {
	t.Helper()
	if err := s.packs(t.Context(), func(n uint64, p packInfo) {
		if p.class == pack.ClassData {
			all = append(all, n)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// packOfRoot returns the path of the pack that holds a root's record.
func packOfRoot(t *testing.T, s *Store, name string) string {
	t.Helper()
	body, err := s.Root(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := encodeRoot(name, body)
	if err != nil {
		t.Fatal(err)
	}
	n, ok, err := s.PackOf(s.codec.ID(plain))
	if err != nil || !ok {
		t.Fatalf("root %q: %v, %v", name, ok, err)
	}
	return inPacks(packName(n))
}
