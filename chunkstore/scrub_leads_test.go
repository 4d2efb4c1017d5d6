package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

// TestLeadsTellWrongOnes: of the entries of several packs exactly those are told that
// lead to no record, whatever number is judged at once, by who adds the chunks and by
// who adds packs; each is damage then, and is not told twice.
func TestLeadsTellWrongOnes(t *testing.T) {
	for _, most := range []int{1, 2, 7, mostLeads} {
		for _, by := range []string{"one", "all", "pack"} {
			t.Run(fmt.Sprintf("%d at once, by %s", most, by), func(t *testing.T) {
				testLeads(t, most, by)
			})
		}
	}
}

func testLeads(t *testing.T, most int, by string) {
	ctx, fsys := context.Background(), vfs.NewMem()
	s := newStore(t, fsys, 0)
	hurtStores.Store(fsys, true)
	defer s.Close()
	var ids []ID
	for i := range 4 {
		ses := begin(t, s)
		for k := range 8 {
			ids = append(ids, mustPut(t, s, ses, pack.KindData, chunkOf(uint64(100*i+k), 3000+k)))
		}
		if err := errors.Join(ses.Commit(ctx, fmt.Sprint("v", i), nil), ses.Close()); err != nil {
			t.Fatal(err)
		}
	}
	want := []ID{ids[3], ids[9], ids[10]}
	for _, id := range want {
		at, _, err := s.lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		at.offset += 8
		if err := s.index.Set(chunkKey(id), at.append(nil), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	tell := func() (told []ID) {
		t.Helper()
		l := s.NewLeads()
		l.most, l.Wrong = most, func(d DamagedChunk) { told = append(told, d.ID) }
		switch by {
		case "pack":
			sums, err := s.CountPlaces(ctx)
			if err == nil {
				err = l.AddPacks(ctx, sums)
			}
			if err != nil {
				t.Fatal(err)
			}
		case "all":
			for from, n := 0, 0; from < len(ids); from, n = min(from+n, len(ids)), n+1 { // none, one, two, …
				lacking, err := l.AddAll(ctx, append([]ID{{1}}, ids[from:min(from+n, len(ids))]...))
				if err != nil || !slices.Equal(lacking, []ID{{1}}) {
					t.Fatal(lacking, err)
				}
			}
		default:
			for _, id := range ids {
				if ok, err := l.Add(ctx, id); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}
		}
		if err := l.Check(ctx); err != nil || l.Moved {
			t.Fatal(l.Moved, err)
		}
		return told
	}
	compare := func(a, b ID) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(want, compare)
	got := tell()
	if slices.SortFunc(got, compare); !slices.Equal(got, want) {
		t.Fatalf("told of %v, want %v", got, want)
	}
	for _, id := range ids {
		if hurt, err := s.Damaged(id); err != nil || hurt != slices.Contains(want, id) {
			t.Errorf("chunk %v: damaged %v, %v", id, hurt, err)
		}
	}
	if again := tell(); len(again) > 0 {
		t.Errorf("told again of %v", again)
	}
}

// TestLeadsTellOfMoves: entries that were judged before a prune moved them, while their
// packs were not proved yet, are told of: nobody has proved the packs where they lie.
func TestLeadsTellOfMoves(t *testing.T) {
	for _, most := range []int{1, mostLeads} {
		s := newStore(t, vfs.NewMem(), 64<<10)
		w := newTestWorld()
		for i := range 4 {
			w.mustWrite(t, s, string("ab"[i%2])+string(rune('0'+i)), i)
		}
		before := map[ID]place{}
		if err := s.eachPlace(t.Context(), func(id ID, at place) error { before[id] = at; return nil }); err != nil {
			t.Fatal(err)
		}
		l := s.NewLeads()
		l.most = most
		for id := range before {
			if _, err := l.Add(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if l.Moved {
			t.Fatal("something was moved before the prune")
		}
		mustPrune(t, s, PruneOptions{Doomed: doom("a")})
		for n := range l.Packs() { // as who verifies does next
			if _, err := s.ProvePack(t.Context(), n, ProveOptions{LeadsApart: true}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		moved := 0
		for id, was := range before {
			if at, ok, err := s.lookup(id); err != nil {
				t.Fatal(err)
			} else if ok && at != was {
				moved++
			}
		}
		if moved == 0 || !l.Moved {
			t.Errorf("%d at once: %d chunks were moved, and it tells %v", most, moved, l.Moved)
		}
	}
}

// countReader counts reads.
type countReader struct {
	r io.ReaderAt
	n *atomic.Int64
}

func (c countReader) ReadAt(b []byte, off int64) (int, error) {
	c.n.Add(1)
	return c.r.ReadAt(b, off)
}

// TestLeadsReadByReader: all that leads read of packs goes through their Reader, also
// chunks that are read as their pack is not whole, and parity.
func TestLeadsReadByReader(t *testing.T) {
	var reads, paced atomic.Int64
	s := newStore(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".pack") {
			reads.Add(1)
		}
		return nil
	})), 0)
	ses := begin(t, s)
	var ids []ID
	for k := range 20 {
		ids = append(ids, mustPut(t, s, ses, pack.KindData, chunkOf(uint64(k), 3000)))
	}
	if err := errors.Join(ses.Commit(t.Context(), "v", nil), ses.Close()); err != nil {
		t.Fatal(err)
	}
	at, _, err := s.lookup(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.remember(at.pack, PackProof{Result: PackHealable}, nil, nil); err != nil {
		t.Fatal(err)
	}
	l := s.NewLeads()
	l.Reader = func(r io.ReaderAt) io.ReaderAt { return countReader{r, &paced} }
	reads.Store(0)
	for _, id := range ids {
		if _, err := l.Add(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Check(t.Context()); err != nil || l.Hurt {
		t.Fatal(l.Hurt, err)
	}
	if all, got := reads.Load(), paced.Load(); all < int64(len(ids)) || got != all {
		t.Errorf("%d reads, of which %d went through the reader", all, got)
	}
	wrong := at // for which the parity is asked
	wrong.offset += 8
	reads.Store(0)
	paced.Store(0)
	if _, err := s.provePlace(ids[0], wrong, l.Reader); err != nil {
		t.Fatal(err)
	}
	if all, got := reads.Load(), paced.Load(); all < 2 || got != all {
		t.Errorf("of a wrong place %d reads, of which %d went through the reader", all, got)
	}
}
