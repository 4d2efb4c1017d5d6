package heal

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore"
)

// proofs returns when each pack of a store was proved.
func proofs(t *testing.T, s *chunkstore.Store) map[uint64]chunkstore.PackProof {
	t.Helper()
	all := map[uint64]chunkstore.PackProof{}
	if err := s.KnownPacks(context.Background(), func(p chunkstore.KnownPack) error { all[p.Number] = p.Proof; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestScrubOfOneVM: a scrub of one VM proves the packs that it uses and no
// other, and says nothing of other VMs' versions.
func TestScrubOfOneVM(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	want, err := packsOf(context.Background(), s, "other")
	if err != nil {
		t.Fatal(err)
	}
	before := proofs(t, s)
	rep := mustScrub(t, s, Options{VM: "other", Deep: true}, "one VM")
	if rep.Packs != len(want) || len(want) == len(before) || len(want) == 0 {
		t.Fatalf("%d packs were proved; the VM uses %d of %d", rep.Packs, len(want), len(before))
	}
	for n, p := range proofs(t, s) {
		if proved := p.Result == chunkstore.PackWhole; proved != want[n] {
			t.Errorf("pack %016x: proved %v, used by the VM %v", n, proved, want[n])
		}
	}
	for _, c := range w.versions {
		if st, err := State(s, c.vm, c.id); c.vm != "other" && (err != nil || st.State != chunkstore.Pending) {
			t.Errorf("version %s of %s is %v, %v", c.id, c.vm, st.State, err)
		}
	}
}

// TestRatePacesBytes: by a clock of the test's own, reads begin when the bytes
// before them are paid for, whoever read them.
func TestRatePacesBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, each, readers = 1 << 20, 128 << 10, 4
		p := &paced{bytes.NewReader(make([]byte, each)), t.Context(), newPace(rate), new(Progress)}
		began := time.Now()
		done := make(chan error)
		for range readers {
			go func() {
				var err error
				b := make([]byte, each)
				for range 8 {
					if _, e := p.ReadAt(b, 0); e != nil {
						err = e
					}
				}
				done <- err
			}()
		}
		for range readers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		total := int64(readers * 8 * each)
		want := time.Duration(total-each) * time.Second / rate // the first need not wait
		if took := time.Since(began); took != want || p.progress.Done.Load() != total {
			t.Errorf("%d of %d bytes took %v, want %v", p.progress.Done.Load(), total, took, want)
		}
	})
}

// TestZeroLengthPack: a pack of which a crash left the name only is found and
// named; a repair without a donor keeps saying so, and the captures of the same
// content make the store whole.
func TestZeroLengthPack(t *testing.T) {
	w := newWorld(t)
	for i, path := range w.packs() {
		mem := vfs.NewMem()
		w.put(t, mem)
		writeFile(t, mem, path, nil)
		s := openWorld(t, mem)
		rep := mustScrub(t, s, Options{}, path)
		number := strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".pack")
		named := false
		for _, f := range rep.Findings {
			named = named || f.Pack == number
		}
		if !named || rep.Clean() {
			t.Errorf("pack %d: %s is not named: %s", i, number, describe(rep))
		}
		rep = mustScrub(t, s, Options{Repair: true}, path)
		w.named(t, w.read(t, s, path), &rep.Left, path)
		again := *w
		for k, c := range w.versions {
			again.capture(t, s, "again "+c.vm, 100+k, c.b)
		}
		mustScrub(t, s, Options{Repair: true}, path)
		again.whole(t, s, path)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
