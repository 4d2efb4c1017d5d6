package heal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/heal/background"
)

const hang = 3 * time.Minute

// until waits for a state, not for a time.
func until(t *testing.T, what string, is func() bool, about ...func() string) {
	t.Helper()
	for end := time.Now().Add(hang); !is(); {
		if time.Now().After(end) {
			for _, f := range about {
				what += "; " + f()
			}
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// nightly is a scrub in the background with a clock of its own.
type nightly struct {
	*BackgroundScrub
	ahead atomic.Int64 // of the clock, nanoseconds
	steps atomic.Int64 // that have begun
	run   *background.Runner
}

func startNightly(s *chunkstore.Store) *nightly { return startNightlyAt(s, 0) }

// startNightlyAt starts with a clock that is ahead of the machine's.
func startNightlyAt(s *chunkstore.Store, ahead time.Duration) *nightly {
	n := new(nightly)
	n.BackgroundScrub = NewBackgroundScrub(func() *chunkstore.Store { n.steps.Add(1); return s }, 0, nil)
	n.ahead.Store(int64(ahead))
	n.now = func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) }
	n.run = background.Start(background.Options{Working: s.Working}, n.BackgroundScrub)
	return n
}

// pass lets time go by.
func (n *nightly) pass(d time.Duration) {
	n.ahead.Add(int64(d))
	n.run.Wake()
}

func (n *nightly) is(state background.State) func() bool {
	return func() bool { return n.run.Status()[0].State == state }
}

// states returns how many versions are in each state.
func (w *world) states(t *testing.T, s *chunkstore.Store) map[chunkstore.Validation]int {
	t.Helper()
	m := map[chunkstore.Validation]int{}
	for _, c := range w.versions {
		st, err := State(s, c.vm, c.id)
		if err != nil {
			t.Fatal(err)
		}
		m[st.State]++
	}
	return m
}

// TestBackgroundProvesAll: a store that nobody scrubs is proved, its versions
// become valid, and so do those that come later; the next cycle begins in time.
func TestBackgroundProvesAll(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	if got := w.states(t, s); got[chunkstore.Pending] != len(w.versions) {
		t.Fatalf("before: %v", got)
	}
	// The first cycle begins, by its clock, before the packs are proved that are new, so
	// that it proves none of them once more however long that took.
	n := startNightlyAt(s, -time.Hour)
	defer func() { n.run.Stop() }()
	until(t, "a full cycle", func() bool { return n.run.Status()[0].LastFull != nil && n.is(background.Waiting)() })
	if got := w.states(t, s); got[chunkstore.Valid] != len(w.versions) {
		t.Fatalf("after: %v", got)
	}
	for n, p := range proofs(t, s) {
		if p.Result != chunkstore.PackWhole || !p.Deep {
			t.Errorf("pack %x is %v, deep %v", n, p.Result, p.Deep)
		}
	}
	b := bytes.Clone(w.versions[0].b)
	rand.NewChaCha8([32]byte{42}).Read(b[:1<<20])
	w.capture(t, s, "vm", 50, b)
	n.run.Wake()
	until(t, "the new version is valid", func() bool { return w.states(t, s)[chunkstore.Valid] == len(w.versions) })
	until(t, "it waits", n.is(background.Waiting))
	first := *n.run.Status()[0].LastFull
	n.pass(scrubPeriod + time.Hour)
	until(t, "the next cycle", func() bool { return n.run.Status()[0].LastFull.After(first) })
	for n, p := range proofs(t, s) {
		if p.Result != chunkstore.PackWhole || p.Deep {
			t.Errorf("pack %x was not proved in the second cycle: %v, deep %v", n, p.Result, p.Deep)
		}
	}
}

// TestBackgroundGoesOn kills the process between two packs, again and again:
// each next one proves only what is left.
func TestBackgroundGoesOn(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	proofs := 0
	for round := 0; ; round++ {
		s := openWorld(t, mem)
		b := NewBackgroundScrub(func() *chunkstore.Store { return s }, 0, nil)
		ctx, cancel := context.WithCancel(context.Background())
		job := &stopAfter{BackgroundScrub: b, most: 2 << 20, cancel: cancel}
		run := background.Start(background.Options{}, job)
		until(t, "some packs, or all", func() bool { return ctx.Err() != nil || run.Status()[0].LastFull != nil })
		run.Stop()
		was := proofs
		proofs = 0
		if err := s.KnownPacks(context.Background(), func(p chunkstore.KnownPack) error {
			if p.Proof.Result == chunkstore.PackWhole {
				proofs++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if proofs < was {
			t.Fatalf("round %d: %d proofs, %d before", round, proofs, was)
		}
		full := run.Status()[0].LastFull != nil
		cancel()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if full {
			if round < 2 {
				t.Fatalf("all was done in %d rounds", round+1)
			}
			break
		}
		if round > 200 {
			t.Fatalf("no end: %d packs proved", proofs)
		}
	}
	s := openWorld(t, mem)
	defer s.Close()
	if st, err := LastScrub(s); err != nil || st.LastFull == nil {
		t.Fatalf("status of a store that nobody scrubs: %+v, %v", st, err)
	}
	w.whole(t, s, "after all")
}

// stopAfter ends a context when its job has read so many bytes.
type stopAfter struct {
	*BackgroundScrub
	most   int64
	cancel context.CancelFunc
}

func (j *stopAfter) Step(ctx context.Context, turn *background.Turn) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if turn.Taken() > j.most {
				j.cancel()
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return j.BackgroundScrub.Step(ctx, turn)
}

// TestBackgroundMends: what parity brings back is mended without being asked;
// what is lost marks every version that uses it, until a capture brings it.
func TestBackgroundMends(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	packs := w.packs()
	big := packs[len(packs)-1]
	b := bytes.Clone(w.files[big])
	b[len(b)/2] ^= 4
	writeFile(t, mem, big, b)
	gone := packs[len(packs)-2]
	if err := mem.Remove(gone); err != nil {
		t.Fatal(err)
	}
	s := openWorld(t, mem)
	defer s.Close()
	n := startNightly(s)
	defer func() { n.run.Stop() }()
	until(t, "a full cycle", func() bool { return n.run.Status()[0].LastFull != nil && n.is(background.Waiting)() })
	if _, err := mem.Stat(big); err == nil {
		t.Error("the healable pack was not replaced")
	}
	hurt, err := Hurt(context.Background(), s)
	if err != nil || len(hurt.Chunks) == 0 {
		t.Fatalf("damage of a lost pack: %v, %v", hurt, err)
	}
	w.named(t, w.read(t, s, "after the cycle"), hurt, "after the cycle")
	want := map[[2]string]bool{}
	for _, c := range hurt.Chunks {
		for _, u := range c.Uses {
			want[[2]string{u.VM, u.Version}] = u.Kind != UseManifest || want[[2]string{u.VM, u.Version}]
		}
	}
	for _, c := range w.versions {
		st, err := State(s, c.vm, c.id)
		if err != nil || (st.State == chunkstore.Hurt) != want[[2]string{c.vm, c.id}] {
			t.Errorf("version %s of %s is %v, and uses damage: %v (%v)", c.id, c.vm, st.State, want[[2]string{c.vm, c.id}], err)
		}
	}
	after := *w
	for k, c := range w.versions {
		after.capture(t, s, "again "+c.vm, 100+k, c.b)
	}
	n.run.Wake()
	until(t, "all is valid again", func() bool { return after.states(t, s)[chunkstore.Valid] == len(after.versions) })
	n.pass(48 * time.Hour)
	until(t, "the lost pack is forgotten", func() bool { _, now := s.DamageChanges(); return now == 0 && n.is(background.Waiting)() })
	n.run.Stop()
	after.whole(t, s, "captured again")
}

// TestBackgroundEndsRepairs: a repair that was stopped before the old pack was out of the way
// is ended as soon as the background has nothing else to prove, and not when a cycle or the
// process ends: until then the store would be said to have a pack to repair. Where the pack
// can't be moved, that is not tried in each step, as it costs a pass over the index.
func TestBackgroundEndsRepairs(t *testing.T) {
	w, mem := newWorld(t), vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	n := startNightly(s)
	until(t, "a full cycle", func() bool { return n.run.Status()[0].LastFull != nil && n.is(background.Waiting)() })
	n.run.Stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	packs := w.packs()
	b := bytes.Clone(w.files[packs[len(packs)-1]])
	b[len(b)/2] ^= 4
	writeFile(t, mem, packs[len(packs)-1], b)
	var full atomic.Bool
	var refused atomic.Int64
	s = openWorld(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpMkdirAll && strings.HasSuffix(op.Path, "/quarantine") {
			refused.Add(1)
			return syscall.ENOSPC
		}
		return nil
	})))
	hurt := func() (list []uint64) {
		if err := s.HurtPacks(t.Context(), func(k chunkstore.KnownPack) { list = append(list, k.Number) }); err != nil {
			t.Error(err)
		}
		return list
	}
	err := s.KnownPacks(t.Context(), func(k chunkstore.KnownPack) error {
		found, err := s.ProvePack(t.Context(), k.Number, chunkstore.ProveOptions{LeadsApart: true})
		if err == nil && found.Repairable() {
			_, err = s.RepairPack(t.Context(), found, nil)
		}
		return err
	})
	if err != nil { // and whoever repaired is stopped, not the process
		t.Fatal(err)
	}
	defer s.Close()
	if got := hurt(); len(got) != 1 {
		t.Fatalf("behind the interrupted repair packs %x are hurt", got)
	}
	full.Store(true)
	n = startNightly(s)
	defer func() { n.run.Stop() }()
	until(t, "the first try", func() bool { return refused.Load() > 0 && n.is(background.Waiting)() })
	for range 3 {
		was := n.steps.Load()
		n.run.Wake()
		until(t, "a step", func() bool { return n.steps.Load() > was && n.is(background.Waiting)() })
	}
	if got := refused.Load(); got != 1 {
		t.Errorf("the pack was tried to be moved %d times at once", got)
	}
	full.Store(false)
	n.pass(time.Hour)
	until(t, "the old pack is out of the way", func() bool { return len(hurt()) == 0 && n.is(background.Waiting)() })
	if _, err := mem.Stat(packs[len(packs)-1]); err == nil {
		t.Error("the old pack is still among the packs")
	}
	if q, err := s.Quarantined(); err != nil || len(q) != 1 {
		t.Errorf("in quarantine: %v, %v", q, err)
	}
	n.run.Stop()
	w.whole(t, s, "after the repair was ended")
}

// TestBackgroundMendsWhatIsKnown: a pack that another scrub has found healable and left, or
// that was to be mended when the process died, is mended at once, and not in the next cycle.
// One that can't be mended, as the disk is full, is tried again.
func TestBackgroundMendsWhatIsKnown(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	var full atomic.Bool
	var refused atomic.Int64
	s := openWorld(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpCreate && strings.Contains(op.Path, "/packs/") {
			refused.Add(1)
			return syscall.ENOSPC
		}
		return nil
	})))
	defer s.Close()
	n := startNightly(s)
	defer func() { n.run.Stop() }()
	until(t, "a full cycle", func() bool { return n.run.Status()[0].LastFull != nil && n.is(background.Waiting)() })
	packs := w.packs()
	big := packs[len(packs)-1]
	b := bytes.Clone(w.files[big])
	b[len(b)/2] ^= 4
	writeFile(t, mem, big, b)
	if rep, err := Scrub(t.Context(), s, Options{Deep: true}); err != nil || rep.Lost != 0 || len(rep.Left.Packs) != 1 {
		t.Fatalf("the scrub that leaves it: %v, %v", rep, err)
	}
	full.Store(true)
	n.run.Wake()
	until(t, "it can't be mended", func() bool { return refused.Load() > 0 && n.is(background.Waiting)() })
	full.Store(false)
	n.pass(time.Hour)
	until(t, "the pack is replaced", func() bool { _, err := mem.Stat(big); return err != nil })
	until(t, "all are whole", func() bool {
		n.run.Wake() // the new pack is proved in another step
		for _, p := range proofs(t, s) {
			if p.Result != chunkstore.PackWhole {
				return false
			}
		}
		return true
	})
	w.whole(t, s, "mended")
}

// TestBackgroundYields: while a session is open, or a read is under way, the
// scrub does nothing; a scrub that somebody calls goes first all the same.
func TestBackgroundYields(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	ses, err := s.Begin(context.Background(), "capture")
	if err != nil {
		t.Fatal(err)
	}
	n := startNightly(s)
	defer func() { n.run.Stop() }()
	until(t, "it yields", n.is(background.Yielding))
	if got := w.states(t, s); got[chunkstore.Pending] != len(w.versions) {
		t.Fatalf("versions were proved beside a capture: %v", got)
	}
	rep := mustScrub(t, s, Options{}, "called beside the background")
	if rep.Packs == 0 || rep.Left.Exists() {
		t.Fatal(describe(rep))
	}
	if err := ses.Close(); err != nil {
		t.Fatal(err)
	}
	n.run.Wake()
	until(t, "it goes on", func() bool { return n.run.Status()[0].LastFull != nil })
}

// TestBackgroundUnreadable: storage that can't be read makes versions
// incomplete, never damaged; they are tried again later, ever more rarely, also
// by another process, and valid when it can be read.
func TestBackgroundUnreadable(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	path := w.packs()[len(w.packs())-1]
	var mu sync.Mutex // guards broken
	broken := true
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Path == path && op.Kind == errorfs.OpFileReadAt {
			return errors.New("input/output error")
		}
		return nil
	}))
	s := openWorld(t, fsys)
	n := startNightly(s)
	until(t, "a full cycle", func() bool { return n.run.Status()[0].LastFull != nil && n.is(background.Waiting)() })
	got := w.states(t, s)
	if got[chunkstore.Incomplete] == 0 || got[chunkstore.Hurt] > 0 || got[chunkstore.Pending] > 0 {
		t.Fatalf("with I/O errors: %v", got)
	}
	tries := func() (most int, next time.Time) {
		for _, c := range w.versions {
			st, err := s.DiskState(catalog.RootName(c.vm, c.id), 0)
			if err != nil {
				t.Fatal(err)
			}
			if st.Tries > most {
				most, next = st.Tries, st.Next
			}
		}
		return most, next
	}
	first, next := tries()
	if first == 0 || !next.After(n.now()) {
		t.Fatalf("%d tries, the next at %v", first, next)
	}
	n.run.Wake()
	until(t, "it waits", n.is(background.Waiting))
	if again, _ := tries(); again != first {
		t.Fatal("it was tried again at once")
	}
	n.run.Stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWorld(t, fsys)
	defer func() { s.Close() }()
	n = startNightly(s)
	defer func() { n.run.Stop() }()
	n.pass(time.Hour)
	until(t, "it is tried again", func() bool { again, _ := tries(); return again > first })
	mu.Lock()
	broken = false
	mu.Unlock()
	until(t, "it waits", n.is(background.Waiting)) // what failed meanwhile is not tried again at the same time
	n.pass(48 * time.Hour)
	until(t, "all is valid", func() bool { return w.states(t, s)[chunkstore.Valid] == len(w.versions) }, func() string {
		hurt, err := Hurt(context.Background(), s)
		return fmt.Sprintf("%+v, %v, %+v, %v", n.run.Status(), w.states(t, s), hurt, err)
	})
}

// TestUnfitMaps: a version whose maps contradict its manifest is damaged, and
// stays so though no chunk is; it keeps nothing else from being proved.
func TestUnfitMaps(t *testing.T) {
	w := newWorld(t)
	mem := vfs.NewMem()
	w.put(t, mem)
	s := openWorld(t, mem)
	defer s.Close()
	ctx := context.Background()
	v, err := catalog.Get(ctx, s, w.versions[0].vm, w.versions[0].id)
	if err != nil {
		t.Fatal(err)
	}
	for i, spoil := range []func(*disk.Map){
		func(m *disk.Map) { m.DataBytes-- },
		func(m *disk.Map) { m.Size = 64 << 40 },
	} {
		bad := *v
		bad.Disks = append([]catalog.Disk(nil), v.Disks...)
		bad.VM = string(rune('x' + i))
		spoil(&bad.Disks[0].Map)
		ses, err := s.Begin(ctx, "spoilt")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(catalog.Commit(ctx, ses, &bad), ses.Close()); err != nil {
			t.Fatal(err)
		}
		n := startNightly(s)
		until(t, "it is judged", func() bool {
			st, err := State(s, bad.VM, bad.ID)
			return err == nil && st.State == chunkstore.Hurt && st.Lasting && n.is(background.Waiting)()
		})
		n.run.Stop()
		rep := mustScrub(t, s, Options{}, "unfit maps")
		if st, err := State(s, bad.VM, bad.ID); err != nil || st.State != chunkstore.Hurt {
			t.Errorf("after a scrub it is %v, %v; %s", st, err, describe(rep))
		}
	}
	if got := w.states(t, s); got[chunkstore.Valid] != len(w.versions) {
		t.Fatalf("the others: %v", got)
	}
}
