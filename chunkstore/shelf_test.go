package chunkstore

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

// shuffled is how captures leave regions that they put at a time: short runs of each
// between one another, and a chunk of elsewhere here and there.
func shuffled(rnd *rand.Rand, n int) (regions [][]int) {
	regions = make([][]int, 3)
	for at := 0; at < n; {
		to, k := rnd.IntN(len(regions)), 1+rnd.IntN(25)
		for ; k > 0 && at < n; k-- {
			regions[to] = append(regions[to], at)
			at++
		}
		if rnd.IntN(4) == 0 {
			regions[to] = append(regions[to], rnd.IntN(n))
		}
	}
	return regions
}

// TestShelfReadsEachRunOnce reads regions that lie between one another: nearly all of
// their records are on the shelf when they are wanted, none was read twice, and what
// the shelf has is whole and is what the pack has.
func TestShelfReadsEachRunOnce(t *testing.T) {
	s, ids, plains := storeOfRows(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		regions := shuffled(rnd, len(ids))
		sh := s.InOrder(media.AloneBuffer(32 << 20)).(*shelf)
		for _, region := range regions {
			sh.Ahead(pick(ids, plains, region))
		}
		had, all := 0, 0
		for _, region := range regions {
			for _, i := range region {
				all++
				at, _, err := s.lookup(ids[i])
				if err != nil {
					t.Fatal(err)
				}
				st := sh.take(spot{at.pack, int64(at.offset)})
				if st == nil {
					continue
				}
				had++
				rec := st.bytes[int64(at.offset)-st.offset:]
				if plain, err := s.codec.Decode(nil, rec, ids[i]); err != nil || !bytes.Equal(plain, plains[i]) {
					t.Fatalf("chunk %d on the shelf: other bytes, or %v", i, err)
				}
				sh.giveBack(st)
			}
		}
		if had < all*8/10 {
			t.Errorf("%d of %d records are on the shelf", had, all)
		}
		for i, a := range sh.stretches {
			for _, b := range sh.stretches[:i] {
				if a.pack == b.pack && a.offset < b.end && b.offset < a.end {
					t.Errorf("bytes %d to %d and %d to %d of a pack were both read", a.offset, a.end, b.offset, b.end)
				}
			}
		}
	}
}

func pick(ids []ID, plains [][]byte, which []int) (want []Want) {
	for _, i := range which {
		want = append(want, Want{ids[i], len(plains[i])})
	}
	return want
}

// TestShelfIsShared has several rows read while their shelf, which is too small for all
// of it, is filled anew under them.
func TestShelfIsShared(t *testing.T) {
	s, ids, plains := storeOfRows(t)
	for _, size := range []int{0, 4096, 100 << 10, 1 << 20, 5 << 20} {
		rows := s.InOrder(media.AloneBuffer(size)[:size])
		regions := make(chan []int)
		var g errgroup.Group
		for range 4 {
			r := rows.Row()
			g.Go(func() error {
				buf := make([]byte, 0, pack.MaxChunk+pack.Slack)
				for region := range regions {
					for _, i := range region {
						if got, err := r.Get(t.Context(), ids[i], buf); err != nil || !bytes.Equal(got, plains[i]) {
							t.Errorf("chunk %d: other bytes, or %v", i, err)
						}
					}
				}
				return nil
			})
		}
		rnd := rand.New(rand.NewPCG(7, uint64(size)))
		for range 15 {
			for _, region := range shuffled(rnd, len(ids)) {
				rows.Ahead(pick(ids, plains, region))
				regions <- region
			}
		}
		close(regions)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestShelfMemory takes memory in all sizes: no two stretches have the same, and what is
// in use stays.
func TestShelfMemory(t *testing.T) {
	const unit = aheadAlign
	sh := &shelf{mem: make([]byte, 10*unit)}
	if st := sh.free(10*unit + 1); st != nil {
		t.Fatalf("got %d bytes of %d", st.to-st.from, len(sh.mem))
	}
	rnd := rand.New(rand.NewPCG(8, 9))
	var held []*stretch
	for range 5000 {
		if len(held) > 0 && rnd.IntN(2) == 0 {
			sh.giveBack(held[0])
			held = held[1:]
		}
		st := sh.free(1 + rnd.IntN(4*unit))
		if st == nil {
			if len(held) == 0 {
				t.Fatal("no memory, and nobody uses any")
			}
			continue
		}
		for _, o := range sh.stretches {
			if st.from < o.to && o.from < st.to {
				t.Fatalf("%d to %d was given while %d to %d is there", st.from, st.to, o.from, o.to)
			}
		}
		if st.from%unit != 0 || st.to > len(sh.mem) {
			t.Fatalf("stretch from %d to %d", st.from, st.to)
		}
		sh.put(st)
		if rnd.IntN(3) == 0 {
			st.users++
			held = append(held, st)
		}
		for _, h := range held {
			found := false
			for _, o := range sh.stretches {
				found = found || o == h
			}
			if !found {
				t.Fatal("a stretch in use was forgotten")
			}
		}
	}
}

// TestRowsGoFromStretchToStretch takes every record of a long run from the shelf, also
// those that lie across the ends of what was read at once, before and after some of it
// was forgotten and read again.
func TestRowsGoFromStretchToStretch(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 64<<20)
	ses := begin(t, s)
	var ids []ID
	var plains [][]byte
	for i := range 300 {
		plains = append(plains, chunkOf(uint64(i), pack.MaxChunk-i))
		ids = append(ids, mustPut(t, s, ses, pack.KindData, plains[i]))
	}
	if err := ses.Commit(t.Context(), "v", nil); err != nil {
		t.Fatal(err)
	}
	sh := s.InOrder(media.AloneBuffer(40 << 20)).(*shelf)
	for _, forget := range []int{-1, 0, 1} {
		if forget >= 0 {
			sh.stretches = slices.Delete(sh.stretches, forget, forget+1)
		}
		sh.Ahead(pick(ids, plains, all(len(ids))))
		if len(sh.stretches) < 3 {
			t.Fatalf("%d stretches, want several", len(sh.stretches))
		}
		r := sh.Row().(*Run)
		for i, id := range ids {
			if rec := r.find(id); rec == nil || r.on == nil {
				t.Errorf("forgotten %d: record %d is not taken from the shelf", forget, i)
			}
		}
		r.leave()
	}
}

func all(n int) (which []int) {
	for i := range n {
		which = append(which, i)
	}
	return which
}

// TestShortRunsAreLeftToRows asks ahead for what rows read side by side.
func TestShortRunsAreLeftToRows(t *testing.T) {
	s, ids, plains := storeOfRows(t)
	sh := s.InOrder(media.AloneBuffer(32 << 20)).(*shelf)
	n, bytes := 0, 0
	for ; bytes+len(plains[n]) < aheadLeast-16<<10; n++ {
		bytes += len(plains[n]) + pack.RecordHeaderLen
	}
	sh.Ahead(pick(ids, plains, all(n)))
	if len(sh.stretches) > 0 {
		t.Errorf("%d chunks of %d bytes were read ahead", n, bytes)
	}
}

// TestRowGoesOnBehindAHurtRecord takes records from the shelf behind one that came to it
// with wrong bytes, which is read from the pack instead.
func TestRowGoesOnBehindAHurtRecord(t *testing.T) {
	s, ids, plains := storeOfRows(t)
	sh := s.InOrder(media.AloneBuffer(32 << 20)).(*shelf)
	sh.Ahead(pick(ids, plains, all(100)))
	hurt, _, err := s.lookup(ids[10])
	if err != nil {
		t.Fatal(err)
	}
	st := sh.take(spot{hurt.pack, int64(hurt.offset)})
	if st == nil {
		t.Fatal("the shelf has nothing")
	}
	st.bytes[int64(hurt.end())-st.offset-1] ^= 1
	sh.giveBack(st)
	r := sh.Row().(*Run)
	for _, i := range []int{9, 10, 12, 13, 30} {
		if got, err := r.Get(t.Context(), ids[i], nil); err != nil || !bytes.Equal(got, plains[i]) {
			t.Errorf("chunk %d: other bytes, or %v", i, err)
		}
		if i != 10 && r.on == nil {
			t.Errorf("chunk %d is not taken from the shelf", i)
		}
	}
	r.leave()
}
