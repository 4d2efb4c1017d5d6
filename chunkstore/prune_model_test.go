package chunkstore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/chunkstore/pack"
)

var pruneRuns = flag.Int("prune-runs", 2, "how many random workloads with prunes are run")

// TestPrunesBesideEverything runs captures of all three manners (asking, putting,
// and taking a previous version over without a word), readers that keep old
// places, proofs of packs and prunes that drop what they like, side by side.
// Every version that was committed and not dropped must be whole at every moment,
// and after a last prune nothing else is left.
func TestPrunesBesideEverything(t *testing.T) {
	for run := range *pruneRuns {
		seed := *crashSeed*1_000_000 + uint64(run)
		m := &model{t: t, w: newTestWorld(), fs: vfs.NewMem(), where: fmt.Sprintf("seed %d", seed)}
		m.s = newStore(t, m.fs, []int64{6 << 10, 30 << 10, 1 << 20}[run%3])
		m.run(seed)
	}
}

type model struct {
	t     *testing.T
	w     *world
	fs    vfs.FS
	s     *Store
	where string

	mu      sync.Mutex // guards dropped
	dropped map[string]bool
}

func (m *model) run(seed uint64) {
	t := m.t
	m.dropped = map[string]bool{}
	stop := make(chan struct{})
	var writers, others sync.WaitGroup
	for g := range 4 {
		r := rand.New(rand.NewPCG(seed, uint64(g)))
		writers.Go(func() {
			for i := range 12 {
				name := fmt.Sprintf("v%d.%d", g, i)
				if err := m.write(r, name); err != nil {
					t.Errorf("%s: %s: %v", m.where, name, err)
				}
			}
		})
	}
	background := func(n uint64, step func(r *rand.Rand) error) {
		r := rand.New(rand.NewPCG(seed, n))
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := step(r); err != nil {
					t.Errorf("%s: %v", m.where, err)
					return
				}
			}
		})
	}
	background(100, m.read)
	background(101, m.prune)
	background(102, m.prove)
	writers.Wait()
	close(stop)
	others.Wait()
	if t.Failed() {
		t.FailNow()
	}
	mustPrune(t, m.s, PruneOptions{})
	for n := range m.dropped {
		delete(m.w.committed, n)
		delete(m.w.begun, n)
	}
	checkVersions(t, m.s, m.w.committed, m.w.begun, m.where)
	checkClean(t, m.s, m.where)
	m.compare()
	if r, err := Check(context.Background(), m.s, CheckOptions{Walk: walkTest(m.s)}); err != nil || !r.Sound() || r.Unused != 0 {
		t.Fatalf("%s: check: %+v, %v", m.where, r, err)
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	checkImage(t, m.fs, m.w.committed, m.w.begun, m.where+", opened again")
}

// write commits a version in one of three manners.
func (m *model) write(r *rand.Rand, name string) error {
	ctx := context.Background()
	switch r.IntN(3) {
	case 0:
		return m.w.shareVersion(ctx, m.s, name, r.IntN(6))
	case 1:
		return m.w.writeVersion(ctx, m.s, name, r.IntN(6))
	}
	ses, err := m.s.Begin(ctx, name)
	if err != nil {
		return err
	}
	defer ses.Close()
	var bodies []string
	err = m.s.Roots(ctx, "", "", func(_ string, body []byte) bool {
		bodies = append(bodies, string(body))
		return true
	})
	if err != nil || len(bodies) == 0 {
		return err
	}
	m.w.mu.Lock()
	m.w.begun[name] = true
	m.w.mu.Unlock()
	if err := ses.Commit(ctx, name, []byte(bodies[r.IntN(len(bodies))])); err != nil {
		return err
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.committed[name] = true
	return nil
}

// read reads a whole version, which stays readable as long as it is not dropped.
func (m *model) read(r *rand.Rand) error {
	var names []string
	err := m.s.Roots(context.Background(), "", "", func(n string, _ []byte) bool { names = append(names, n); return true })
	if err != nil || len(names) == 0 {
		return err
	}
	name := names[r.IntN(len(names))]
	body, err := m.s.Root(context.Background(), name)
	if err == nil {
		err = m.readAll(string(body))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dropped[name] {
		return nil
	}
	return err
}

func (m *model) readAll(body string) error {
	id, err := pack.ParseID(body)
	if err != nil {
		return err
	}
	ids, err := m.s.Get(context.Background(), id, nil)
	for ; err == nil && len(ids) > 0; ids = ids[32:] {
		_, err = m.s.Get(context.Background(), ID(ids[:32]), nil)
	}
	return err
}

// prune drops a few versions and frees what it may, sometimes for a while only.
func (m *model) prune(r *rand.Rand) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left := -1
	if r.IntN(3) == 0 {
		left = r.IntN(40)
	}
	walk := walkTest(m.s)
	_, err := m.s.Prune(ctx, PruneOptions{
		MaxUnused: []float64{0, 0.05, 0.5}[r.IntN(3)],
		Doomed: func(ctx context.Context, roots Roots) (names []string, err error) {
			err = roots.Roots(ctx, "", "", func(name string, _ []byte) bool {
				if r.IntN(5) == 0 {
					names = append(names, name)
				}
				return true
			})
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, n := range names {
				m.dropped[n] = true
			}
			return names, err
		},
		Walk: func(ctx context.Context, name string, body []byte, visit Visit) error {
			if left--; left == 0 {
				cancel()
			}
			return walk(ctx, name, body, visit)
		},
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prove proves packs as a scrub with repair does: nothing may be wrong.
func (m *model) prove(*rand.Rand) error {
	places, err := m.s.CountPlaces(context.Background())
	if err != nil {
		return err
	}
	return m.s.KnownPacks(context.Background(), func(p KnownPack) error {
		r, err := m.s.ProvePack(context.Background(), p.Number, ProveOptions{Expect: places[p.Number], Fix: true})
		if err != nil || r.Pruned {
			return err
		}
		if r.Result != PackWhole || r.Missing || r.Fixed > 0 {
			return fmt.Errorf("pack %016x: %+v", p.Number, r)
		}
		return nil
	})
}

// compare proves that nothing is left but what the versions need.
func (m *model) compare() {
	m.t.Helper()
	live := map[ID]bool{}
	ctx := context.Background()
	var roots []root
	err := m.s.Roots(ctx, "", "", func(name string, body []byte) bool {
		roots = append(roots, root{name, append([]byte(nil), body...)})
		return true
	})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range roots {
		plain, err := encodeRoot(r.name, r.body)
		if err != nil {
			m.t.Fatal(err)
		}
		live[m.s.ID(plain)] = true
		err = walkTest(m.s)(ctx, r.name, r.body, func(id ID, _ pack.Kind) (bool, error) { live[id] = true; return true, nil })
		if err != nil {
			m.t.Fatal(err)
		}
	}
	if st := stats(m.t, m.s); st.Chunks != int64(len(live)) {
		m.t.Fatalf("%s: the store holds %d chunks, %d are needed", m.where, st.Chunks, len(live))
	}
}
