package chunkstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore/pack"
)

// TestFilterBits: a member is never missed, in memory and in a file, and strangers pass as
// seldom as the docs say.
func TestFilterBits(t *testing.T) {
	for _, c := range []struct {
		bits  int // for each id
		oneIn int // strangers that pass, at the most
	}{{10, 45}, {5, 8}} {
		const n = 100000
		rnd := rand.NewChaCha8([32]byte{byte(c.bits)})
		draw := func() (id ID) { rnd.Read(id[:]); return id }
		var in []ID
		for range n {
			in = append(in, draw())
		}
		b := newBloom(n * c.bits / 8)
		for _, id := range in {
			b.add(id)
		}
		slices.SortFunc(in, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
		mem := vfs.NewMem()
		of := baseHead{packSet{[2]uint64{1, 2}, 3}, n * uint64(c.bits) / 8 / lineLen}
		file := openMade(t, mem, of, in)
		for what, mayHave := range map[string]func(ID) bool{
			"memory": b.mayHave,
			"file":   func(id ID) bool { may, sure := file.mayHave(id); return may || !sure },
		} {
			for _, id := range in {
				if !mayHave(id) {
					t.Fatalf("%s, %d bits: member %v is missed", what, c.bits, id)
				}
			}
			passed := 0
			for range n {
				id := draw()
				if mayHave(id) {
					passed++
				} else if mayHave(id) {
					t.Fatal("a second answer is another one")
				}
			}
			if passed*c.oneIn > n || passed == 0 {
				t.Errorf("%s, %d bits: %d of %d strangers pass, want one in %d at most", what, c.bits, passed, n, c.oneIn)
			}
		}
	}
}

// openMade writes a base of ids, which are in order, and opens it.
func openMade(t *testing.T, mem vfs.FS, of baseHead, in []ID) *base {
	t.Helper()
	f, err := mem.Create("/base", "test")
	if err != nil {
		t.Fatal(err)
	}
	w := newBaseWriter(f, of)
	for _, id := range in {
		w.add(headOf(id))
	}
	if err := errors.Join(w.end(), f.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := openBase(mem, "/base")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	if b.baseHead != of {
		t.Fatalf("the head is %v, want %v", b.baseHead, of)
	}
	return b
}

// TestFoldedFilter: a base made of another one and of ids has all of both, and what was bad
// TestLackedChunksAreNotReadAgain: of as many new chunks as two packs hold, which are asked
// for again before they enter, five in six are answered without their line; and what
// remembers that they are not there answers for no member, also where it is empty.
func TestLackedChunksAreNotReadAgain(t *testing.T) {
	const n, inTwoPacks = 50000, 10000
	rnd := rand.NewChaCha8([32]byte{7})
	draw := func() (id ID) { rnd.Read(id[:]); return id }
	var in []ID
	for range n {
		id := draw()
		clear(id[16:]) // as is what nothing was put into yet
		in = append(in, id)
	}
	slices.SortFunc(in, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	var reads atomic.Int64
	mem := vfs.NewMem()
	openMade(t, mem, baseHead{packSet{[2]uint64{1, 2}, 3}, n * 20 / 8 / lineLen}, in).close()
	b, err := openBase(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt {
			reads.Add(1)
		}
		return nil
	})), "/base")
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var lacked []ID
	for len(lacked) < inTwoPacks {
		id := draw()
		if may, sure := b.mayHave(id); !sure {
			t.Fatal("a line can't be read")
		} else if !may {
			lacked = append(lacked, id)
		}
	}
	reads.Store(0)
	for _, id := range lacked {
		if may, sure := b.mayHave(id); may || !sure {
			t.Fatalf("%v: a second answer is another one: %v, %v", id, may, sure)
		}
	}
	if got := reads.Load(); got > inTwoPacks/6 {
		t.Errorf("%d of %d lines were read again", got, inTwoPacks)
	}
	for _, id := range in {
		if may, _ := b.mayHave(id); !may {
			t.Fatalf("member %v is missed", id)
		}
	}
}

// of the first may have had anything.
func TestFoldedFilter(t *testing.T) {
	rnd := rand.NewChaCha8([32]byte{7})
	ids := make([]ID, 3000)
	for i := range ids {
		rnd.Read(ids[i][:])
	}
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	for _, n := range []int{0, 1, 2999, 3000} { // that are in the first
		var first []ID
		var young []idHead
		for i, id := range ids {
			if (i+1)*n/len(ids) > i*n/len(ids) {
				first = append(first, id)
			} else {
				young = append(young, headOf(id))
			}
		}
		mem := vfs.NewMem()
		openMade(t, mem, baseHead{lines: 100}, first)
		raw := readAll(t, mem, "/base")
		clear(raw[lineLen*50:][:lineLen]) // nothing of what it had is left
		writeAll(t, mem, "/base", raw)
		b, err := openBase(mem, "/base")
		if err != nil {
			t.Fatal(err)
		}
		f, err := mem.Create("/folded", "test")
		if err != nil {
			t.Fatal(err)
		}
		set := packSet{[2]uint64{4, 5}, 6}
		if err := errors.Join(b.fold(f, set, young, func() bool { return false }), f.Close(), b.close()); err != nil {
			t.Fatal(err)
		}
		folded, err := openBase(mem, "/folded")
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if may, sure := folded.mayHave(id); !may || !sure {
				t.Fatalf("%d of the ids in the first: %v is missed", n, id)
			}
		}
		if folded.set != set || n == 3000 != (young == nil) {
			t.Errorf("the set is %v", folded.set)
		}
		if err := folded.close(); err != nil {
			t.Fatal(err)
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
	f.ask()
	base := readAll(t, mem, "/store/"+filterName)
	f.prove()
	f.put(10)
	f.prove()
	f.shut()
	if got := readAll(t, mem, "/store/"+filterName); !bytes.Equal(got, base) {
		t.Error("the base was written anew for ten chunks")
	}

	f = openFresh(t, mem, f.ids)
	f.ask()
	f.prove()
	ids := f.ids
	f.newness.known.Store(nil) // what follows is not saved, as after a crash
	f.put(10)
	f.shut()

	f = openFresh(t, mem, f.ids)
	if _, err := f.takeFilter(); !errors.Is(err, errNotWorth) {
		t.Fatalf("a filter of other packs is taken: %v", err)
	}
	f.miss()
	f.prove()
	if len(f.ids) != len(ids)+10 {
		t.Fatal("the test lost chunks")
	}
	f.shut()
}

// openLearned makes a store of a hundred chunks that has made its filter.
func openLearned(t *testing.T, mem vfs.FS) *fresh {
	t.Helper()
	newStore(t, mem, 64<<10).Close()
	f := openFresh(t, mem, nil)
	f.put(100)
	f.miss()
	return f
}

// ask takes the filter that a former owner left, as the first miss does.
func (f *fresh) ask() {
	f.Helper()
	if ok, err := f.has(ID{0xff, 2}); err != nil || ok {
		f.Fatal(ok, err)
	}
	f.newness.done.Wait()
	if f.newness.known.Load() == nil {
		f.Fatal("the filter that was left was not taken")
	}
}

// TestManyYoungChunks: with many chunks beside it a new base is made of them, by who has
// the store and when that lets go of it; and one that is too small is made anew.
func TestManyYoungChunks(t *testing.T) {
	mem := vfs.NewMem()
	newStore(t, mem, 64<<10).Close()
	f := openFresh(t, mem, nil)
	f.put(100)
	f.newness.added.Store(minFilter) // its base is larger than what is beside it: they err otherwise
	f.miss()
	enter := func(n int) { // as a batch does, without the batch
		f.damage.mu.Lock()
		defer f.damage.mu.Unlock()
		for range n {
			id := f.Store.ID(fmt.Appendf(nil, "%d", len(f.ids)))
			f.ids = append(f.ids, id)
			f.enters(id)
		}
	}
	in := func() int {
		f.newness.done.Wait()
		f.damage.mu.Lock()
		defer f.damage.mu.Unlock()
		return f.newness.known.Load().ids.n
	}
	all := func() {
		f.Helper()
		for i, id := range f.ids {
			if f.surelyNew(id) {
				f.Fatalf("chunk %d is taken for new", i)
			}
		}
	}
	enter(youngMost - 1)
	all()
	if n := in(); n < youngMost*9/10 {
		t.Fatalf("%d ids are beside the base, want nearly all", n)
	}
	enter(youngMost / 10)
	if n := in(); n > youngMost/10 {
		t.Errorf("%d ids are still beside the base", n)
	}
	all()
	lines := f.newness.known.Load().base.lines
	f.newness.added.Store(int64(lines) * lineLen * 8 / fewestBits)
	enter(2 * worthMisses)
	if in(); f.newness.known.Load().base.lines <= lines {
		t.Error("a filter with too few bits is not made anew")
	}
	f.newness.known.Store(nil)
	f.shut()
}

// TestNoBaseOfAFilterThatWasLetGo: who was about to make a new base of a filter that is let
// go, as one is to which too much was added, leaves it.
func TestNoBaseOfAFilterThatWasLetGo(t *testing.T) {
	mem := vfs.NewMem()
	f := openLearned(t, mem)
	known := f.newness.known.Swap(nil)
	f.newness.drop(known)
	if err := f.renewFilter(known); !errors.Is(err, errNotWorth) || f.newness.making.Load() != nil {
		t.Errorf("%v, want %v", err, errNotWorth)
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

// TestDamagedFilter cuts the files everywhere and changes bytes of them: what is there is
// never taken for new, and the next owner has a filter again.
func TestDamagedFilter(t *testing.T) {
	mem := vfs.NewMem()
	f := openLearned(t, mem)
	f.shut()
	f = openFresh(t, mem, f.ids)
	f.ask()
	f.put(50)
	f.shut()
	ids := f.ids
	names := []string{filterName, youngName}
	whole := map[string][]byte{}
	for _, name := range names {
		whole[name] = readAll(t, mem, "/store/"+name)
	}
	for i, hurt := range []func(b []byte) []byte{
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:lineLen-1] },
		func(b []byte) []byte { return b[:lineLen] },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { b[0]++; return b },
		func(b []byte) []byte { b[8]++; return b },
		func(b []byte) []byte { b[32]++; return b },
		func(b []byte) []byte { b[39] = 0xff; return b },
		func(b []byte) []byte { b[56]++; return b },
		func(b []byte) []byte { b[63] = 0xff; return b },
		func(b []byte) []byte { b[lineLen+100] ^= 1; return b },
		func(b []byte) []byte { clear(b[lineLen:]); return b },
		func(b []byte) []byte { copy(b[lineLen:], b[2*lineLen:]); return b },
	} {
		for _, name := range names {
			for _, n := range names {
				writeAll(t, mem, "/store/"+n, whole[n])
			}
			writeAll(t, mem, "/store/"+name, hurt(bytes.Clone(whole[name])))
			f := openFresh(t, mem, ids)
			f.prove()
			f.miss()
			f.prove()
			f.shut()
			f = openFresh(t, mem, ids)
			f.miss()
			f.prove()
			f.shut()
			if t.Failed() {
				t.Fatalf("way %d of damage to %s", i, name)
			}
		}
	}
}

// TestBadLinesEndAFilter: a filter of which much can't be read is given up, and its files go.
func TestBadLinesEndAFilter(t *testing.T) {
	mem := vfs.NewMem()
	f := openLearned(t, mem)
	f.shut()
	b := readAll(t, mem, "/store/"+filterName)
	clear(b[lineLen:])
	writeAll(t, mem, "/store/"+filterName, b)
	f = openFresh(t, mem, f.ids)
	f.ask()
	for i := range mostBad {
		if f.surelyNew(ID{0xff, byte(i), byte(i >> 8), 2}) {
			t.Fatal("a bad line tells what is new")
		}
	}
	f.newness.done.Wait()
	if f.newness.known.Load() != nil || f.hasFilter() {
		t.Fatal("the filter is still there")
	}
	f.miss()
	f.prove()
	f.shut()
}

// TestFilterAfterACrash: whatever of a filter's files reached the disk when the machine
// went down, what is there is not taken for new.
func TestFilterAfterACrash(t *testing.T) {
	for seed := range uint64(20) {
		mem := vfs.NewCrashableMem()
		newStore(t, mem, 64<<10).Close()
		f := openFresh(t, mem, nil)
		f.put(200)
		f.miss()
		f.shut()
		f = openFresh(t, mem, f.ids)
		f.ask()
		f.put(100)
		if err := f.ses.Commit(context.Background(), "r", nil); err != nil {
			t.Fatal(err)
		}
		f.shut()
		after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed%5) * 25, RNG: rand.New(rand.NewPCG(seed, 0))})
		f = openFresh(t, after, f.ids)
		f.prove()
		f.miss()
		f.prove()
		f.shut()
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
