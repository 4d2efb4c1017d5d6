package heal

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
)

// TestLine: each pack that is added is taken once, in order by one, whenever it is added,
// and who waits is let go by the end.
func TestLine(t *testing.T) {
	for _, takers := range []int{1, 2, 7} {
		const packs = 1000
		l := newLine()
		var mu sync.Mutex
		var taken []uint64
		var all sync.WaitGroup
		for range takers {
			all.Go(func() {
				for p, ok := l.take(); ok; p, ok = l.take() {
					mu.Lock()
					taken = append(taken, p.number)
					mu.Unlock()
				}
			})
		}
		for n := 0; n < packs; n += n%3 + 1 { // one, two or three at a time
			var more []target
			for i := n; i < min(n+n%3+1, packs); i++ {
				more = append(more, target{number: uint64(i)})
			}
			l.add(more...)
		}
		l.end()
		all.Wait()
		if takers > 1 {
			slices.Sort(taken)
		}
		if len(taken) != packs || l.len() != packs || !slices.IsSorted(taken) || len(slices.Compact(taken)) != packs {
			t.Errorf("%d takers have %d packs of %d", takers, len(taken), packs)
		}
	}
}

// TestLineEnds: an empty line ends as well, before anybody waits and behind that.
func TestLineEnds(t *testing.T) {
	l := newLine()
	waits := make(chan bool)
	go func() { _, ok := l.take(); waits <- ok }()
	l.end()
	if <-waits {
		t.Error("a pack of none was taken")
	}
	if _, ok := l.take(); ok {
		t.Error("a pack of none was taken behind the end")
	}
}

// TestPacksOfMapsComeLast: of the packs of a VM those of maps are behind all others, as they
// are proved when no map is asked for any more.
func TestPacksOfMapsComeLast(t *testing.T) {
	w, mem := newWorld(t), vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	vm := w.versions[len(w.versions)-1].vm
	sc := &scrub{store: s, report: new(Report), opts: Options{VM: vm, Progress: new(Progress)}}
	sc.leads = sc.newLeads(t.Context())
	l := newLine()
	if err := sc.plan(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	data, maps, size := 0, 0, int64(0)
	for i, p := range l.all {
		size += p.size
		k, ok, err := s.KnownPack(p.number)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if k.Meta {
			maps++
		} else if data++; maps > 0 {
			t.Errorf("pack %d of %d is of data, behind %d of maps", i, len(l.all), maps)
		}
	}
	if total := sc.opts.Progress.Total.Load(); total != size {
		t.Errorf("a total of %d bytes for packs of %d", total, size)
	}
	if maps == 0 || data == 0 || !l.ended {
		t.Errorf("%d packs of data, %d of maps; ended: %v", data, maps, l.ended)
	}
}

// TestFailedProofEndsTheWait: where the proof of a pack fails, or the scrub is called off, no
// prover waits for packs that may come later.
func TestFailedProofEndsTheWait(t *testing.T) {
	var bad uint64 // a pack that holds a chunk of which the index has no place
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.NumCPU())))
	w, mem := newWorld(t), vfs.NewMem()
	w.put(t, mem)
	changeIndex(t, mem, func(all places, set func(k, v []byte)) {
		for id, at := range all {
			bad = at.pack
			set(chunkAt(id), []byte{1})
			break
		}
	})
	s := openWorld(t, mem)
	defer s.Close()
	sc := &scrub{store: s, pace: newPace(0), report: new(Report), opts: Options{Progress: new(Progress)}}
	for what, list := range map[string][]target{"a proof fails": {{number: bad, expect: chunkstore.NoPlaces}}, "the scrub is called off": nil} {
		ctx, cancel := context.WithCancel(t.Context())
		l, failed := newLine(), make(chan error)
		l.add(list...)
		go func() { failed <- sc.proveAll(ctx, l) }()
		if list == nil {
			cancel()
		}
		select {
		case err := <-failed:
			if err == nil || errors.Is(err, context.Canceled) != (list == nil) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(time.Minute):
			l.end()
			t.Errorf("%s, and somebody waits for more packs: %v", what, <-failed)
		}
		cancel()
	}
}
