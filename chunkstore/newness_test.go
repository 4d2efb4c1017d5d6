package chunkstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

// TestBloom: a member is never missed, and strangers pass as seldom as the filter's
// doc says.
func TestBloom(t *testing.T) {
	for _, c := range []struct {
		bits  int // for each id
		oneIn int // strangers that pass, at the most
	}{{10, 45}, {5, 9}} {
		const n = 100000
		b := newBloom(n * c.bits / 8)
		rnd := rand.NewChaCha8([32]byte{byte(c.bits)})
		draw := func() (id ID) { rnd.Read(id[:]); return id }
		var in []ID
		for range n {
			id := draw()
			b.add(id)
			in = append(in, id)
		}
		for _, id := range in {
			if !b.mayHave(id) {
				t.Fatalf("%d bits: member %v is missed", c.bits, id)
			}
		}
		passed := 0
		for range n {
			if b.mayHave(draw()) {
				passed++
			}
		}
		if passed*c.oneIn > n || passed == 0 {
			t.Errorf("%d bits: %d of %d strangers pass, want one in %d at most", c.bits, passed, n, c.oneIn)
		}
	}
}

// fresh is a store whose chunks the test knows.
type fresh struct {
	*testing.T
	*Store
	ses Session
	ids []ID
}

func openFresh(t *testing.T, fsys vfs.FS, ids []ID) *fresh {
	s := openStore(t, fsys, 64<<10)
	s.newness.least = 1
	return &fresh{t, s, begin(t, s), ids}
}

// put stores n more chunks, and has them published.
func (f *fresh) put(n int) {
	f.Helper()
	for range n {
		plain := binary.LittleEndian.AppendUint64(nil, uint64(len(f.ids)))
		f.ids = append(f.ids, mustPut(f.T, f.Store, f.ses, pack.KindData, plain))
	}
	if err := f.writers[pack.ClassData].drain(); err != nil {
		f.Fatal(err)
	}
}

// miss asks for so many chunks that are not there that a filter is thought of, and
// waits for it.
func (f *fresh) miss() {
	f.Helper()
	for tries := 0; tries < 3 && f.newness.known.Load() == nil; tries++ { // a first one may find damage
		for i := range worthMisses {
			id := ID{0xff, byte(i), byte(i >> 8), 1}
			if ok, err := f.has(id); err != nil || ok {
				f.Fatal(ok, err)
			}
		}
		f.newness.done.Wait()
	}
	if f.newness.known.Load() == nil {
		f.Fatal("there is no filter")
	}
}

// prove asks for every chunk that is there.
func (f *fresh) prove() {
	f.Helper()
	for i, id := range f.ids {
		if f.surelyNew(id) {
			f.Fatalf("chunk %d is there and taken for new", i)
		}
		if ok, err := f.has(id); err != nil || !ok {
			f.Fatalf("chunk %d: %v, %v", i, ok, err)
		}
	}
}

func (f *fresh) shut() {
	f.Helper()
	if err := f.ses.Close(); err != nil {
		f.Fatal(err)
	}
	if err := f.Close(); err != nil {
		f.Fatal(err)
	}
}

// TestNewnessOutlivesItsOwner: a filter is made by a pass, takes in what comes, is
// read by the next owner, and not where the packs are others by then.
func TestNewnessOutlivesItsOwner(t *testing.T) {
	mem := vfs.NewMem()
	newStore(t, mem, 64<<10).Close()
	f := openFresh(t, mem, nil)
	f.put(500)
	f.miss()
	f.prove()
	f.put(500)
	f.prove()
	f.shut()

	f = openFresh(t, mem, f.ids)
	set, _, err := f.packSet()
	if err != nil || !f.hasFilter(set) {
		t.Fatalf("the next owner has no filter: %v", err)
	}
	f.miss()
	if f.newness.saved != set {
		t.Error("the file was not read")
	}
	f.prove()
	ids := f.ids
	f.newness.known.Store(nil) // what follows is not saved, as after a crash
	f.put(10)
	f.shut()

	f = openFresh(t, mem, f.ids)
	if set, _, err = f.packSet(); err != nil || f.hasFilter(set) {
		t.Fatalf("a filter of other packs is taken: %v", err)
	}
	f.miss()
	f.prove()
	if len(f.ids) != len(ids)+10 {
		t.Fatal("the test lost chunks")
	}
	f.shut()
}

// TestFilterIsNoneOfAnIndexMadeAnew: of a chunk with two records that one goes to which
// the index leads, so a filter of the packs that are left lacks it; an index that is
// made anew leads to the other.
func TestFilterIsNoneOfAnIndexMadeAnew(t *testing.T) {
	mem := vfs.NewMem()
	newStore(t, mem, 64<<10).Close()
	f := openFresh(t, mem, nil)
	f.put(500)
	if err := f.index.Delete(chunkKey(f.ids[0]), pebble.NoSync); err != nil { // as a prune does
		t.Fatal(err)
	}
	f.miss()
	if !f.surelyNew(f.ids[0]) {
		t.Fatal("the filter has what the index lacks")
	}
	f.shut()
	s, _ := openFor(t, mem, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f = openFresh(t, mem, f.ids)
	f.miss()
	f.prove()
	f.shut()
}

// TestDamagedFilterIsMadeAnew cuts the file everywhere and changes bytes of it.
func TestDamagedFilterIsMadeAnew(t *testing.T) {
	mem := vfs.NewMem()
	newStore(t, mem, 64<<10).Close()
	f := openFresh(t, mem, nil)
	f.put(100)
	f.miss()
	f.shut()
	whole := readAll(t, mem, "/store/"+filterName)
	ids := f.ids
	for _, hurt := range []func(b []byte) []byte{
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:filterHead-1] },
		func(b []byte) []byte { return b[:filterHead] },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { b[0]++; return b },
		func(b []byte) []byte { b[8]++; return b },
		func(b []byte) []byte { b[32] = 1; return b },
		func(b []byte) []byte { b[39] = 0xff; return b },
		func(b []byte) []byte { b[filterHead+100] ^= 1; return b },
		func(b []byte) []byte { clear(b[filterHead:]); return b },
	} {
		writeAll(t, mem, "/store/"+filterName, hurt(append([]byte(nil), whole...)))
		f := openFresh(t, mem, ids)
		f.miss()
		f.prove()
		f.shut()
		if got := readAll(t, mem, "/store/"+filterName); len(got) != len(whole) {
			t.Errorf("a file of %d bytes was saved, want %d", len(got), len(whole))
		}
	}
}

// TestNewnessBesideWriters makes filters over and over while chunks are stored: what
// is there is never taken for new, from the moment that a Put has returned.
func TestNewnessBesideWriters(t *testing.T) {
	s := newStore(t, vfs.NewMem(), 8<<10)
	var writers sync.WaitGroup
	for w := range 3 {
		ses := begin(t, s)
		writers.Go(func() {
			for i := range 2000 {
				rec := record(s, pack.KindData, fmt.Appendf(nil, "%d of %d", i, w))
				if _, err := ses.Put(context.Background(), []pack.Record{rec}); err != nil {
					t.Error(err)
					return
				}
				if ok, err := s.has(rec.ID); err != nil || !ok {
					t.Errorf("chunk %d of %d: %v, %v", i, w, ok, err)
					return
				}
			}
		})
	}
	stop, made := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				made <- n
				return
			default:
				s.newness.misses.Store(1 << 40)
				s.learn()
			}
		}
	}()
	writers.Wait()
	close(stop)
	if n := <-made; n == 0 {
		t.Error("no filter was made")
	}
}

// TestPackSets: the sum does not depend on the order, and tells
// sets apart.
func TestPackSets(t *testing.T) {
	var a, b, c packSet
	for n := range uint64(100) {
		a.add(n)
		b.add(99 - n)
		c.add(n + 1)
	}
	if a != b {
		t.Error("the order of packs counts")
	}
	if a == c {
		t.Error("other packs have the same sum")
	}
}
