package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

// storeOfRows makes a store of several packs with chunks of every length.
func storeOfRows(t *testing.T) (s *Store, ids []ID, plains [][]byte) {
	t.Helper()
	s = newStore(t, vfs.NewMem(), 1<<20)
	ses := begin(t, s)
	for i := range 300 {
		n := 1 + i*i*37%pack.MaxChunk
		if i%10 == 0 {
			n = pack.MaxChunk
		}
		plains = append(plains, chunkOf(uint64(i), n))
		ids = append(ids, mustPut(t, s, ses, pack.KindData, plains[i]))
	}
	if err := ses.Commit(context.Background(), "v", nil); err != nil {
		t.Fatal(err)
	}
	return s, ids, plains
}

// TestRunNeedsNoLookups takes most chunks out of the index: who reads in order finds
// them none the less.
func TestRunNeedsNoLookups(t *testing.T) {
	s, ids, plains := storeOfRows(t)
	kept := map[ID][]byte{}
	var was place
	row := 0 // how many lie behind one another before this one
	for i, id := range ids {
		at, ok, err := s.lookup(id)
		if err != nil || !ok {
			t.Fatalf("chunk %d: %v, %v", i, ok, err)
		}
		if at.pack != was.pack || int(at.offset) != int(was.offset)+was.recordLen() {
			row = 0
		}
		if row++; row > 2 {
			kept[id] = at.append(nil)
			if err := s.index.Delete(chunkKey(id), nil); err != nil {
				t.Fatal(err)
			}
		}
		was = at
	}
	if len(kept) < len(ids)/2 {
		t.Fatalf("only %d of %d chunks lie behind the one before", len(kept), len(ids))
	}
	r, found := s.InOrder(nil).Row(), 0
	for i, id := range ids {
		got, err := r.Get(t.Context(), id, nil)
		switch {
		case err == nil && !bytes.Equal(got, plains[i]):
			t.Fatalf("chunk %d: other bytes", i)
		case err == nil && kept[id] != nil:
			found++
		case err != nil && (kept[id] == nil || !errors.Is(err, ErrNotFound)):
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
	if found != len(kept) {
		t.Errorf("%d of %d chunks were found without the index", found, len(kept))
	}
	for id, at := range kept {
		if err := s.index.Set(chunkKey(id), at, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunIsGet reads rows, jumps, single chunks between rows, and what is not there.
func TestRunIsGet(t *testing.T) {
	s, ids, plains := storeOfRows(t)
	rows := s.InOrder(media.AloneBuffer(3 << 20))
	inFlight := mustPut(t, s, begin(t, s), pack.KindData, []byte("not yet committed"))
	r, rnd, at := rows.Row(), rand.New(rand.NewPCG(1, 2)), 0
	buf := make([]byte, 0, pack.MaxChunk+pack.Slack)
	for range 2000 {
		switch n := rnd.IntN(40); {
		case n == 0:
			at = rnd.IntN(len(ids))
		case n < 3:
			at += rnd.IntN(5)
		case n == 3:
			checkRun(t, r, ids[0], plains[0], buf)
			continue
		case n == 4:
			checkRun(t, r, inFlight, []byte("not yet committed"), buf)
			continue
		case n == 5:
			if _, err := r.Get(t.Context(), s.ID([]byte("never put")), buf); !errors.Is(err, ErrNotFound) {
				t.Fatalf("a chunk that was never put: %v", err)
			}
			continue
		}
		at %= len(ids)
		checkRun(t, r, ids[at], plains[at], buf)
		if n := rnd.IntN(200); n < 100 {
			rows.Ahead(wanted(ids, plains, at, n))
		}
		at++
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Get(ctx, ids[0], buf); !errors.Is(err, context.Canceled) {
		t.Fatalf("after the end of its context: %v", err)
	}
}

// wanted are n chunks from one on.
func wanted(ids []ID, plains [][]byte, at, n int) (want []Want) {
	for i := at; i < min(at+n, len(ids)); i++ {
		want = append(want, Want{ids[i], len(plains[i])})
	}
	return want
}

func wantedOf(s *Store, plains [][]byte) (want []Want) {
	for _, p := range plains {
		want = append(want, Want{s.ID(p), len(p)})
	}
	return want
}

func checkRun(t *testing.T, r Getter, id ID, want, buf []byte) {
	t.Helper()
	got, err := r.Get(t.Context(), id, buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes")
	}
	if &got[0] != &buf[:1][0] {
		t.Fatal("the buffer was not used")
	}
}

// TestRunOfHurtPacks changes a byte here and there: what comes back is right or
// damage, which is noted as Get notes it; with parity it is right.
func TestRunOfHurtPacks(t *testing.T) {
	for _, noParity := range []bool{false, true} {
		failed := 0
		for at := pack.HeaderLen; at < 3<<20; at += 250007 {
			fsys, want := storeToHurt(t, CreateOptions{NoParity: noParity})
			hurtPacks(t, fsys, func(b []byte) []byte {
				if at < len(b) {
					b[at] ^= 0x40
				}
				return b
			})
			s := openStore(t, fsys, 0)
			rows := s.InOrder(media.AloneBuffer(1 << 20))
			r := rows.Row()
			for i, plain := range want {
				if i%20 == 0 && at%2 == 0 {
					rows.Ahead(wantedOf(s, want[i:]))
				}
				got, err := r.Get(t.Context(), s.ID(plain), nil)
				if _, damage := errors.AsType[*pack.Damage](err); damage && noParity {
					failed++
					if bad, err := s.Damaged(s.ID(plain)); err != nil || !bad {
						t.Errorf("byte %d: chunk %d failed and is not known to be damaged: %v", at, i, err)
					}
				} else if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("byte %d, no parity %v: chunk %d: other bytes, or %v", at, noParity, i, err)
				}
			}
		}
		if noParity != (failed > 0) {
			t.Errorf("no parity %v: %d chunks failed", noParity, failed)
		}
	}
}

// TestRunIsNotLedAstray shows that a record behind the last one that bears the next
// id, and is not that chunk, is not taken for it.
func TestRunIsNotLedAstray(t *testing.T) {
	fsys, want := storeToHurt(t, CreateOptions{NoParity: true})
	s := openStore(t, fsys, 0)
	a, c := s.ID(want[5]), s.ID(want[9])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	hurtPacks(t, fsys, func(b []byte) []byte {
		if i, k := bytes.Index(b, a[:]), bytes.Index(b, c[:]); i > 0 && k > 0 {
			copy(b[i:], c[:]) // the sixth record says that it is the tenth
		}
		return b
	})
	s = openStore(t, fsys, 0)
	r := s.InOrder(nil).Row()
	for i := range 5 {
		checkRun(t, r, s.ID(want[i]), want[i], make([]byte, 0, pack.MaxChunk+pack.Slack))
	}
	checkRun(t, r, s.ID(want[9]), want[9], make([]byte, 0, pack.MaxChunk+pack.Slack))
}
