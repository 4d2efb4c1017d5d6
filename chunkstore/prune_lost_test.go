package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// lastRoot returns where the last root of a pack begins; -1: it has none.
func lastRoot(t *testing.T, b []byte) int {
	t.Helper()
	_, entries, err := pack.ReadFooter(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if e := entries[len(entries)-1]; e.Kind == pack.KindRoot {
		return int(e.Offset)
	}
	return -1
}

// TestNoPruneBesideALostRoot: a version whose record can't be read when the index
// is made anew is not seen, and a prune must not free what it needs, unless
// somebody gives it up. When the pack is whole again, nothing is remembered.
func TestNoPruneBesideALostRoot(t *testing.T) {
	for name, hurt := range map[string]func(b []byte, root int) []byte{
		"record damaged": func(b []byte, root int) []byte {
			b[root+pack.RecordHeaderLen] ^= 1
			return b
		},
		"footer lost, record damaged": func(b []byte, root int) []byte {
			b[root+pack.RecordHeaderLen] ^= 1
			return append(b[:root+pack.RecordHeaderLen+1], make([]byte, 100)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			if _, err := Create("/store", CreateOptions{FS: fsys, NoParity: true}); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, fsys, 0)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			w.mustWrite(t, s, "b", 2)
			bad := packOfRoot(t, s, "b")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			hurtStores.Store(fsys, true)
			whole := readAll(t, fsys, bad)
			dropIndex(t, fsys)
			writeAll(t, fsys, bad, hurt(bytes.Clone(whole), lastRoot(t, whole)))
			for range 2 { // it is remembered
				s = openStore(t, fsys, 0)
				for _, dry := range []bool{true, false} {
					_, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s), DryRun: dry})
					if !errors.Is(err, ErrLostRoots) || !strings.Contains(err.Error(), bad[len(bad)-21:]) {
						t.Fatalf("dry %v: a prune beside a root that can't be read: %v", dry, err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			hurtBytes := readAll(t, fsys, bad)
			writeAll(t, fsys, bad, whole)
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			mustPrune(t, s, PruneOptions{})
			checkVersions(t, s, w.committed, w.begun, "the record is back")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := fsys.Stat(bad); err != nil {
				return // it was merged: there is no second part
			}
			writeAll(t, fsys, bad, hurtBytes)
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			if r := mustPrune(t, s, PruneOptions{GiveUpLost: true}); r.DeadChunks == 0 || !r.Complete {
				t.Fatalf("given up, nothing is freed: %+v", r)
			}
			mustPrune(t, s, PruneOptions{}) // said once
			w.forget("b")
			checkVersions(t, s, w.committed, w.begun, "given up")
		})
	}
}

// TestLostRootThatComesBack: a version that is committed again, as a replica
// does, is the same record, and then nothing is lost.
func TestLostRootThatComesBack(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	id := rootID(t, s, "a")
	for _, lost := range []ID{id, {1}} {
		if err := s.noteLostRoot(lost, place{pack: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s)}); !errors.Is(err, ErrLostRoots) || !strings.Contains(err.Error(), "1 in all") {
		t.Fatalf("want one that is lost: %v", err)
	}
	mustPrune(t, s, PruneOptions{GiveUpLost: true})
	mustPrune(t, s, PruneOptions{})
	checkVersions(t, s, w.committed, w.begun, "pruned")
}

// TestLostRootOutlivesARepairAndARebuild: a repair replaces the pack that may have held
// a root by what is left of it; an index that is made anew then does not see that
// pack any more.
func TestLostRootOutlivesARepairAndARebuild(t *testing.T) {
	fsys := vfs.NewMem()
	if _, err := Create("/store", CreateOptions{FS: fsys, NoParity: true}); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, fsys, 0)
	w := newTestWorld()
	w.mustWrite(t, s, "a", 1)
	w.mustWrite(t, s, "b", 2)
	bad := packOfRoot(t, s, "b")
	n, ok := parsePackName(bad[len(bad)-21:])
	if !ok {
		t.Fatal(bad)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	hurtStores.Store(fsys, true)
	b := readAll(t, fsys, bad)
	root := lastRoot(t, b)
	b[root+pack.RecordHeaderLen] ^= 1
	dropIndex(t, fsys)
	writeAll(t, fsys, bad, b[:root+pack.RecordHeaderLen+1])
	s = openStore(t, fsys, 0)
	found, err := s.ProvePack(t.Context(), n, ProveOptions{Deep: true, Fix: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.RepairPack(t.Context(), found, nil); err != nil || r.New == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	f, err := s.files.open(n) // as a read before the repair left it
	if err != nil {
		t.Fatal(err)
	}
	s.files.done(f)
	if moved, err := s.FinishRepairs(t.Context()); err != nil || moved[n] == "" {
		t.Fatalf("%v, %v", moved, err)
	}
	if s.files.take(n) != nil {
		t.Error("a pack in quarantine is held open: its blocks stay taken when that is emptied")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, _ = openFor(t, fsys, true)
		if _, err := s.Prune(t.Context(), PruneOptions{Walk: walkTest(s)}); !errors.Is(err, ErrLostRoots) {
			t.Fatalf("a prune beside a root that was lost: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, fsys, 0)
	mustPrune(t, s, PruneOptions{GiveUpLost: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = openFor(t, fsys, true)
	mustPrune(t, s, PruneOptions{}) // said once
	w.forget("b")
	checkVersions(t, s, w.committed, w.begun, "given up")
}

// TestGapEnds has an index made anew beside a pack of maps of which nothing could be
// read, and its bytes come back. Until a scrub has brought the version in it back a
// prune refuses, and then no longer, also where that version's record has gone bad
// meanwhile or a repair has replaced the pack; nothing is given up for that.
func TestGapEnds(t *testing.T) {
	for _, record := range []string{"whole", "gone bad since", "never whole", "lost in a repair", "replaced", "back from elsewhere"} {
		t.Run(record, func(t *testing.T) {
			fsys := vfs.NewMem()
			if _, err := Create("/store", CreateOptions{FS: fsys, NoParity: true}); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, fsys, 0)
			hurtStores.Store(fsys, true)
			w := newTestWorld()
			w.mustWrite(t, s, "a", 1)
			w.mustWrite(t, s, "b", 2)
			path := packOfRoot(t, s, "b")
			n, _ := parsePackName(path[len(path)-21:])
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			whole := readAll(t, fsys, path)
			lost := bytes.Clone(whole)
			clear(lost[pack.HeaderLen:])
			bad := bytes.Clone(whole)
			bad[lastRoot(t, whole)+pack.RecordHeaderLen] ^= 1
			writeAll(t, fsys, path, lost)
			dropIndex(t, fsys)
			s = openStore(t, fsys, 0)
			refuses := func(when string) {
				t.Helper()
				for _, dry := range []bool{true, false} {
					if _, err := s.Prune(t.Context(), PruneOptions{Walk: walkTest(s), DryRun: dry}); !errors.Is(err, ErrLostRoots) || !strings.Contains(err.Error(), "1 in all") {
						t.Fatalf("%s, dry %v: %v", when, dry, err)
					}
				}
			}
			refuses("nothing can be read")
			prove := func() PackReport {
				t.Helper()
				found, err := s.ProvePack(t.Context(), n, ProveOptions{Deep: true, Fix: true, Expect: NoPlaces})
				if err != nil {
					t.Fatal(err)
				}
				return found
			}
			replace := func(found PackReport) {
				t.Helper()
				if _, err := s.RepairPack(t.Context(), found, nil); err != nil {
					t.Fatal(err)
				}
				if moved, err := s.FinishRepairs(t.Context()); err != nil || moved[n] == "" {
					t.Fatalf("%v, %v", moved, err)
				}
			}
			back := func(b []byte) {
				t.Helper()
				s.files.drop(n)
				writeAll(t, fsys, path, b)
			}
			switch record {
			case "never whole", "lost in a repair":
				back(bad)
				refuses("the footer is back, the root is not")
				found := prove()
				refuses("proved")
				if record == "lost in a repair" {
					replace(found)
					refuses("replaced by what was left")
				}
				return
			case "back from elsewhere":
				w.mustWrite(t, s, "b", 2)
			default:
				back(whole)
				refuses("the version is not known yet")
				found := prove()
				if found.Fixed == 0 {
					t.Fatalf("%+v", found)
				}
				if record == "replaced" {
					replace(found)
				}
			}
			if record == "gone bad since" || record == "back from elsewhere" {
				back(bad)
			}
			checkVersions(t, s, w.committed, w.begun, "all is back")
			for _, dry := range []bool{true, false} {
				if _, err := s.Prune(t.Context(), PruneOptions{Walk: walkTest(s), DryRun: dry}); err != nil {
					t.Fatalf("all is back, dry %v: %v", dry, err)
				}
			}
			if left, err := s.lostRoots(t.Context()); err != nil || len(left) > 0 {
				t.Errorf("%v is still taken for lost, %v", left, err)
			}
			checkVersions(t, s, w.committed, w.begun, "pruned")
		})
	}
}

// TestNoPruneWithAStaleIndex: where index and packs are of different times it is
// not known what versions need.
func TestNoPruneWithAStaleIndex(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 0)
	s.adopted.Stale = true
	if _, err := s.Prune(context.Background(), PruneOptions{Walk: walkTest(s)}); err == nil || !strings.Contains(err.Error(), "rebuild-index") {
		t.Fatalf("a prune with a stale index: %v", err)
	}
}
