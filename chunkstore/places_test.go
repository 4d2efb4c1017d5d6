package chunkstore

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// inOrder is a store with chunks that were put one after the other, which makes no
// pass over its index by itself.
func inOrder(t *testing.T) (s *Store, ids []ID, plains [][]byte) {
	t.Helper()
	s = newStore(t, vfs.NewMem(), 512<<10)
	s.warmth.begun = true
	ses := begin(t, s)
	for i := range 60 {
		plain := chunkOf(uint64(i), []int{pack.MaxChunk, 1, 40_000, 4096}[i%4])
		ids, plains = append(ids, mustPut(t, s, ses, pack.KindData, plain)), append(plains, plain)
	}
	if err := ses.Commit(context.Background(), "v", nil); err != nil {
		t.Fatal(err)
	}
	return s, ids, plains
}

// readSomehow reads a chunk as a whole and in parts: what comes is right.
func readSomehow(t *testing.T, s *Store, id ID, plain []byte) {
	t.Helper()
	n := len(plain)
	for from := 0; from < n; from += testFrame {
		for _, p := range []pack.Part{{Chunk: n, To: n}, {Chunk: n, From: from, To: min(n, from+testFrame)}} {
			got, whole, err := s.GetPart(context.Background(), id, nil, p)
			if whole {
				p.From, p.To = 0, n
			}
			if err != nil || !bytes.Equal(got, plain[p.From:p.To]) {
				t.Fatalf("chunk %v, %+v: whole %v, %v", id, p, whole, err)
			}
		}
	}
}

// stale counts the chunks that are remembered to lie where they don't.
func stale(t *testing.T, s *Store, ids []ID) (n int) {
	t.Helper()
	for _, id := range ids {
		at, ok, err := s.lookup(id)
		if err != nil || !ok {
			t.Fatalf("chunk %v is not in the index: %v", id, err)
		}
		if is, known := s.places.find(id); known && is != at {
			n++
		}
	}
	return n
}

// A pass over the index leaves hardly anything to look up.
func TestPlacesOfAPass(t *testing.T) {
	s, ids, plains := inOrder(t)
	warmAll(t, s)
	known := 0
	for i, id := range ids {
		if _, ok := s.places.find(id); ok {
			known++
		}
		readSomehow(t, s, id, plains[i])
	}
	if 4*known < 3*len(ids) { // ids are of a random key
		t.Errorf("of %d chunks %d are remembered", len(ids), known)
	}
	if n := stale(t, s, ids); n != 0 {
		t.Errorf("%d chunks are remembered elsewhere", n)
	}
}

// Who reads in the order of the packs needs the index only where a pack begins, also
// where no pass over it was made.
func TestPlacesBehind(t *testing.T) {
	s, ids, plains := inOrder(t)
	s.places.room(int64(len(ids)))
	known := 0
	for i, id := range ids {
		if _, ok := s.places.find(id); ok {
			known++
		}
		n := len(plains[i])
		got, whole, err := s.GetPart(context.Background(), id, nil, pack.Part{Chunk: n, To: n, Along: true})
		if err != nil || !whole || !bytes.Equal(got, plains[i]) {
			t.Fatalf("chunk %d: whole %v, %v", i, whole, err)
		}
	}
	packs := map[uint64]bool{}
	for _, id := range ids {
		at, _, _ := s.lookup(id)
		packs[at.pack] = true
	}
	if known != len(ids)-len(packs) || len(packs) < 2 {
		t.Errorf("of %d chunks in %d packs %d were known", len(ids), len(packs), known)
	}
	if n := stale(t, s, ids); n != 0 {
		t.Errorf("%d chunks are remembered elsewhere", n)
	}
}

// What is remembered may be wrong in any way: the chunk comes all the same, and what
// is remembered is right then.
func TestPlacesAreNotBelieved(t *testing.T) {
	s, ids, plains := inOrder(t)
	warmAll(t, s)
	other, _, err := s.lookup(ids[4])
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{8, 9, 10, 11} {
		right, _, _ := s.lookup(ids[i])
		for name, at := range map[string]place{
			"another chunk's":      other,
			"in no pack":           {1 << 40, right.offset, right.payloadLen},
			"behind the pack":      {right.pack, pack.MaxPack - 100, right.payloadLen},
			"inside of the record": {right.pack, right.offset + 16, right.payloadLen},
			"too short":            {right.pack, right.offset, right.payloadLen/2 + 1},
			"too long":             {right.pack, right.offset, right.payloadLen + 5000},
			"as long as can be":    {right.pack, right.offset, pack.MaxRecord - pack.RecordHeaderLen},
		} {
			n := len(plains[i])
			for _, p := range []pack.Part{{Chunk: n, To: n}, {Chunk: n, To: min(n, testFrame)}, {Chunk: n, From: n / testFrame * testFrame, To: n}} {
				s.places.note(ids[i], at)
				got, whole, err := s.GetPart(context.Background(), ids[i], nil, p)
				if whole {
					p.From, p.To = 0, n
				}
				if err != nil || !bytes.Equal(got, plains[i][p.From:p.To]) {
					t.Errorf("%s: chunk %d, %+v: whole %v, %v", name, i, p, whole, err)
				}
				is, _ := s.places.find(ids[i])
				if is != right && is != at || name == "another chunk's" && is != right {
					t.Errorf("%s: remembered at %v", name, is)
				}
			}
			mustGet(t, s, ids[i], plains[i])
		}
	}
}

// A prune moves chunks, and its trash is emptied, below a store that remembers.
func TestPlacesAfterAPrune(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 64<<10)
	s.warmth.begun = true
	w := newTestWorld()
	for i := range 12 {
		w.mustWrite(t, s, fmt.Sprintf("%c%d", "ab"[i%2], i), i)
	}
	warmAll(t, s)
	w.forget("a")
	mustPrune(t, s, PruneOptions{Doomed: doom("a"), MaxUnused: 0.01})
	ids := inIndex(t, s)
	n := stale(t, s, ids)
	if n == 0 {
		t.Fatal("nothing was moved: this tests nothing")
	}
	for _, id := range ids {
		plain, err := s.Get(context.Background(), id, nil)
		if err != nil {
			t.Fatal(err)
		}
		readSomehow(t, s, id, plain)
	}
	if left := stale(t, s, ids); left != 0 {
		t.Errorf("of %d chunks that moved %d are still remembered where they were", n, left)
	}
}

// A repair puts a new pack in the place of a damaged one, below a store that remembers.
func TestPlacesAfterARepair(t *testing.T) {
	fsys, plains := storeOfNoise(t, CreateOptions{FrameSize: testFrame})
	hurtRecords(t, fsys, plains[3], plains[7], func(a, _ []byte) { frameIn(a, 1)[500] ^= 1 })
	s := openStore(t, fsys, 0)
	s.warmth.begun = true
	warmAll(t, s)
	var ids []ID
	for _, plain := range plains {
		ids = append(ids, s.ID(plain))
	}
	at, _, err := s.lookup(ids[3])
	if err != nil {
		t.Fatal(err)
	}
	n := len(plains[3])
	if _, _, err := s.GetPart(t.Context(), ids[3], nil, pack.Part{Chunk: n, From: testFrame, To: 2 * testFrame}); err == nil {
		t.Fatal("a damaged frame came back")
	}
	mustGet(t, s, ids[3], plains[3])
	found, err := s.ProvePack(t.Context(), at.pack, ProveOptions{Deep: true, Fix: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.RepairPack(t.Context(), found, nil); err != nil || r.New == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if stale(t, s, ids) == 0 {
		t.Fatal("nothing was moved: this tests nothing")
	}
	for round := range 2 {
		for i, plain := range plains {
			readSomehow(t, s, ids[i], plain)
		}
		if round == 0 {
			if moved, err := s.FinishRepairs(t.Context()); err != nil || moved[at.pack] == "" {
				t.Fatalf("%v, %v", moved, err)
			}
			warmAll(t, s)
			for _, id := range ids[:4] {
				s.places.note(id, at) // as it was before
			}
		}
	}
	if s.files.take(at.pack) != nil {
		t.Error("a pack in quarantine is held open")
	}
}

// Many at once, in a table that is far too small.
func TestPlacesAtOnce(t *testing.T) {
	s, ids, plains := inOrder(t)
	s.places.room(1)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for range 500 {
				i := r.IntN(len(ids))
				at := place{r.Uint64N(3), r.Uint32(), 1 + r.Uint32N(pack.MaxRecord-pack.RecordHeaderLen)}
				s.places.note(ids[i], at)
				n := len(plains[i])
				got, _, err := s.GetPart(context.Background(), ids[i], nil, pack.Part{Chunk: n, To: n})
				if err != nil || !bytes.Equal(got, plains[i]) {
					t.Errorf("chunk %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
}

// A header that leads behind the largest pack, or is none, is not remembered.
func TestPlacesOfBadHeaders(t *testing.T) {
	s, ids, plains := inOrder(t)
	header := record(s, pack.KindData, plains[0]).Bytes[:pack.RecordHeaderLen]
	var p places
	p.noteBehind(place{1, 64, 100}, header) // there is no table yet
	if _, ok := p.find(ids[0]); ok {
		t.Error("remembered in nothing")
	}
	p.room(1)
	p.noteBehind(place{1, pack.MaxPack - 300, 100}, header)
	for cut := range header {
		p.noteBehind(place{1, 64, 100}, header[:cut])
	}
	if _, ok := p.find(ids[0]); ok {
		t.Error("remembered")
	}
	p.noteBehind(place{1, 64, 100}, header)
	want, _, _ := s.lookup(ids[0])
	if at, ok := p.find(ids[0]); !ok || at != (place{1, 64 + 64 + 100, want.payloadLen}) {
		t.Errorf("%v, %v", at, ok)
	}
}

// The table holds what it has room for, however many chunks there are.
func TestPlacesAreBounded(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for _, chunks := range []int64{0, 1, 2, 1000, maxPlaces / 2, maxPlaces, 1 << 40} {
		var p places
		p.room(chunks)
		slots := len(*p.table.Load()) * placeWays
		if slots > maxPlaces || int64(slots) < min(2*chunks, maxPlaces) {
			t.Errorf("%d chunks: room for %d", chunks, slots)
		}
		if chunks > maxPlaces/2 {
			continue
		}
		ids := make([]ID, chunks)
		for i := range ids {
			r.Read(ids[i][:])
			p.note(ids[i], place{uint64(i), uint32(i), uint32(i + 1)})
		}
		found := 0
		for i, id := range ids {
			if at, ok := p.find(id); ok && at == (place{uint64(i), uint32(i), uint32(i + 1)}) {
				found++
			} else if ok {
				t.Fatalf("chunk %d is found at %v", i, at)
			}
		}
		if 2*found < len(ids) { // of a thousand 963
			t.Errorf("of %d chunks %d are found", len(ids), found)
		}
	}
}

// TestBehindAnOldRecord reads the record before one that has been stored anew elsewhere.
func TestBehindAnOldRecord(t *testing.T) {
	s, ids, plains := inOrder(t)
	warmAll(t, s)
	old, _, err := s.lookup(ids[8]) // behind that of ids[7]
	if err != nil {
		t.Fatal(err)
	}
	anew := place{old.pack + 1, old.offset, old.payloadLen}
	s.places.note(ids[8], anew)
	n := len(plains[7])
	got, whole, err := s.GetPart(context.Background(), ids[7], nil, pack.Part{Chunk: n, To: n, Along: true})
	if err != nil || !whole || !bytes.Equal(got, plains[7]) {
		t.Fatalf("the chunk before: whole %v, %v", whole, err)
	}
	if at, ok := s.places.find(ids[8]); !ok || at != anew {
		t.Errorf("remembered at %v, want %v", at, anew)
	}
}

// TestPlacesOfAnEmptyStore lets a store grow after the table was made.
func TestPlacesOfAnEmptyStore(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 512<<10)
	warmAll(t, s)
	if n := len(*s.places.table.Load()) * placeWays; n < leastPlaces {
		t.Errorf("room for %d places, want %d at least", n, leastPlaces)
	}
}

// inIndex lists the chunks that the index knows.
func inIndex(t *testing.T, s *Store) (ids []ID) {
	t.Helper()
	it, err := s.index.NewIter(&pebble.IterOptions{LowerBound: []byte{keyChunk}, UpperBound: []byte{keyChunk + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		ids = append(ids, ID(it.Key()[1:]))
	}
	return ids
}
