package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

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
			} else if err := s.packs(context.Background(), func(n uint64, p packInfo) {
				if p.class == pack.ClassData {
					bad = inPacks(packName(n))
				}
			}); err != nil {
				t.Fatal(err)
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
