package heal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/heal/background"
)

// ErrBusy says that another scrub of the store is running.
var ErrBusy = errors.New("another scrub of this store is running")

// Options say what a scrub does. The zero value proves every pack's stored
// bytes and mends nothing.
type Options struct {
	Deep      bool          // decode every chunk and compute its id
	VM        string        // only the packs that this VM's versions use; "": all
	OlderThan time.Duration // pass over packs that were proved and whole within this time
	Rate      int64         // bytes a second; 0: no limit
	Repair    bool          // mend what can be mended
	DryRun    bool          // with Repair: only say what would be done
	From      []LiveSource  // with Repair: where lost chunks may still be
	Progress  *Progress     `json:"-"` // nil: not told
	Log       *slog.Logger  `json:"-"`
}

func (o *Options) fill() {
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Scrub proves packs, index and maps, and mends them where it is told to. It
// returns what it found also when ctx ends it early, with ctx's error; what it
// had proved by then is remembered. Reads and captures go on beside it.
func Scrub(ctx context.Context, store *chunkstore.Store, opts Options) (*Report, error) {
	opts.fill()
	end, ok := store.BeginScrub()
	if !ok {
		return nil, ErrBusy
	}
	defer end()
	s := &scrub{store: store, opts: opts, began: time.Now(), gone: map[uint64]bool{}, pace: newPace(opts.Rate)}
	s.report = &Report{Deep: opts.Deep, VM: opts.VM, Began: s.began.UTC().Truncate(time.Second)}
	err := s.run(ctx)
	s.report.Duration = time.Since(s.began)
	if err != nil {
		return s.report, fmt.Errorf("scrub: %w", err)
	}
	return s.report, nil
}

type scrub struct {
	store *chunkstore.Store
	opts  Options
	began time.Time
	pace  *pace
	turn  *background.Turn     // of a scrub in the background; nil: somebody waits for this one
	had   *chunkstore.KnownIDs // chunks that the index had when the scrub began

	repairing sync.Mutex // one repair at a time

	mu     sync.Mutex // guards what follows
	report *Report
	gone   map[uint64]bool              // packs that are not there
	leads  *chunkstore.Leads            // of the VM that is scrubbed; nil: all are
	listed map[uint64]bool              // its packs
	passed map[uint64]chunkstore.Places // packs that are passed over, and what the index has of them
	hurt   []target                     // packs with chunks that did not come back
	back   int                          // chunks and roots that this round has brought back from elsewhere
	looked *int64                       // finds of damage when copies were last looked for; nil: never
	made   map[uint64]bool              // packs that were mended or made here, of records that were proved
}

// work lists packs, proves them and mends what they have lost. It returns how many packs
// those were.
func (s *scrub) work(ctx context.Context) (targets int, err error) {
	if targets, err = s.planAndProve(ctx); err != nil {
		return targets, err
	}
	compare := func(ctx context.Context) error { return s.comparePlaces(ctx, s.passed) }
	if s.leads != nil {
		compare = s.leads.Check
	}
	for _, do := range []func(context.Context) error{compare, s.rescue, s.donate, s.lookAgain} {
		if err := do(ctx); err != nil {
			return targets, err
		}
	}
	return targets, nil
}

// planAndProve lists the packs to prove and proves them. The first packs of a VM are proved
// while its other chunks are looked up: the proof of a pack has no need of what leads
// there. Where packs are mended, all are listed first, as that moves chunks.
func (s *scrub) planAndProve(ctx context.Context) (targets int, err error) {
	l := newLine()
	if s.opts.VM != "" {
		s.leads = s.newLeads(ctx) // which outlive the group below, and its context
	}
	if s.opts.VM == "" || s.mends() {
		if err := s.plan(ctx, l); err != nil {
			return 0, err
		}
		return l.len(), s.proveAndResolve(ctx, l)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.plan(gctx, l) })
	g.Go(func() error { return s.proveAndResolve(gctx, l) })
	err = g.Wait()
	return l.len(), errors.Join(err, ctx.Err())
}

// mends reports whether packs are mended.
func (s *scrub) mends() bool { return s.opts.Repair && !s.opts.DryRun }

func (s *scrub) run(ctx context.Context) error {
	old, err := s.store.Quarantined()
	if err != nil {
		return err
	}
	for again := true; again; {
		found, now := s.store.DamageChanges()
		fixed := s.report.Entries
		targets, err := s.work(ctx)
		if err != nil {
			return err
		}
		// Behind maps that were mended, or of which a proof told that they come back,
		// there may be packs that were not known to be the VM's.
		f, n := s.store.DamageChanges()
		again = s.opts.VM != "" && targets > 0 && (f != found || n != now || s.report.Entries > fixed)
	}
	if err := s.sumUp(ctx); err != nil {
		return err
	}
	return s.leaveQuarantine(ctx, old)
}

// proveAndResolve proves the packs and follows the maps: at once where nothing is
// to be mended, or else one after the other, as what the packs' records mend in
// the index is not to be called lost.
func (s *scrub) proveAndResolve(ctx context.Context, l *line) error {
	g, gctx := errgroup.WithContext(ctx)
	if s.mends() {
		g.SetLimit(1)
	}
	g.Go(func() error {
		if err := s.proveAll(gctx, l); err != nil {
			return err
		}
		return s.noteGone(gctx)
	})
	g.Go(func() error { return s.resolve(gctx) })
	return errors.Join(g.Wait(), ctx.Err())
}

// proveAll proves all packs of a line, as many at once as there are cores, until the line
// or ctx ends or a proof fails: then nobody waits for packs that come later.
func (s *scrub) proveAll(ctx context.Context, l *line) error {
	g, gctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(gctx, l.end)()
	for range cores() {
		g.Go(func() error {
			for t, ok := l.take(); ok && gctx.Err() == nil; t, ok = l.take() {
				if err := s.prove(gctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// prove proves one pack, and mends it where that is wanted.
func (s *scrub) prove(ctx context.Context, t target) error {
	wrap := func(r io.ReaderAt) io.ReaderAt { return s.reader(ctx, r) }
	mend := s.mends()
	found, err := s.store.ProvePack(ctx, t.number, chunkstore.ProveOptions{Deep: s.opts.Deep, Expect: t.expect, LeadsApart: t.apart, Workers: s.workers(), Reader: wrap, Fix: mend})
	if err != nil {
		return err
	}
	if found.Pruned {
		return nil
	}
	s.mu.Lock()
	s.report.take(found)
	if found.Missing && !t.unknown {
		s.gone[t.number] = true
	} else if found.Result == chunkstore.PackDamaged && found.Known {
		s.hurt = append(s.hurt, target{number: t.number, expect: chunkstore.NoPlaces})
	}
	s.mu.Unlock()
	if !s.opts.Repair || !found.Repairable() {
		return nil
	}
	return s.mend(ctx, found)
}

// workers is how many goroutines prove one pack. A scrub in the background does
// all in its own, which alone has the priority of the background.
func (s *scrub) workers() int {
	if s.turn != nil {
		return 1
	}
	return cores()
}

// cores is how many there are for this process. Threads may be more: some wait for
// the disk.
func cores() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// reader is a pack's file as this scrub reads it.
func (s *scrub) reader(ctx context.Context, r io.ReaderAt) io.ReaderAt {
	return s.gentleReader(ctx, r, s.opts.Progress)
}

// gentleReader waits its turn and keeps the pace.
func (s *scrub) gentleReader(ctx context.Context, r io.ReaderAt, told *Progress) io.ReaderAt {
	if s.turn != nil {
		r = s.turn.Reader(ctx, r)
	}
	return &paced{r, ctx, s.pace, told}
}

// newWalk returns a walk that waits its turn where this scrub does.
func (s *scrub) newWalk() *walk {
	w := newWalk(s.store)
	s.gently(w)
	return w
}

// gently makes a walk wait its turn.
func (s *scrub) gently(w *walk) {
	if s.turn != nil {
		w.maps = s.gentleMaps()
		w.step = func(ctx context.Context) error { return s.turn.Take(ctx, pack.MaxChunk) }
	}
}

// gentleMapBytes bounds the maps that a walk in the background keeps in memory.
const gentleMapBytes = 16 << 20

func (s *scrub) gentleMaps() *disk.Maps {
	return disk.NewMaps(s.store.Unnoticed(), gentleMapBytes)
}

func (s *scrub) mend(ctx context.Context, found chunkstore.PackReport) error {
	s.repairing.Lock()
	defer s.repairing.Unlock()
	done := found.Plan()
	var err error
	switch {
	case s.opts.DryRun:
	case !found.Known && found.Result == chunkstore.PackWhole:
		done.Versions, err = s.store.AdoptPack(found.Pack)
	default:
		done, err = s.store.RepairPack(ctx, found, func(r io.ReaderAt) io.ReaderAt { return s.reader(ctx, r) })
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		// One pack that can't be mended is no reason to leave the others.
		s.opts.Log.Error("a pack could not be repaired; it stays as it is", "err", err)
		s.report.RepairErrors = append(s.report.RepairErrors, err.Error())
		return nil
	}
	s.report.Repairs = append(s.report.Repairs, viewRepair(done))
	if s.made == nil {
		s.made = map[uint64]bool{}
	}
	s.made[done.New], s.made[found.Pack] = true, true
	return nil
}

// noteGone records the chunks of packs that are not there.
func (s *scrub) noteGone(ctx context.Context) error {
	if len(s.gone) == 0 {
		return nil
	}
	return s.store.NoteLost(ctx, s.gone, func(d chunkstore.DamagedChunk) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.chunk(viewDamage(d))
	})
}

// resolve follows every map of every version: each chunk must be in the index.
func (s *scrub) resolve(ctx context.Context) error {
	if s.opts.VM != "" {
		return nil
	}
	w := s.newWalk()
	w.known = s.had
	w.lost = func(id chunkstore.ID) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.chunk(ChunkView{ID: id.String(), Kind: "missing", Tried: "a version's map names it and the index does not know it"})
	}
	return w.versions(ctx, "", func(v version, err error) error {
		if err != nil {
			s.find(Finding{Kind: FoundVersion, VM: v.vm, Version: v.id, Text: err.Error()})
			return nil
		}
		err = w.disks(ctx, v, nil)
		if unfit := (*unfitError)(nil); errors.As(err, &unfit) {
			s.find(Finding{Kind: FoundVersion, VM: v.vm, Version: v.id, Text: unfit.Error()})
			return s.store.SetRootState(catalog.RootName(v.vm, v.id), chunkstore.RootState{State: chunkstore.Hurt, When: s.began, Lasting: true})
		}
		return err
	})
}

func (s *scrub) find(f Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.find(f)
}

// rescue looks for other records of damaged chunks. Where nothing was found damaged
// since it did so before, it does not read all footers again.
func (s *scrub) rescue(ctx context.Context) error {
	s.back = 0
	if !s.opts.Repair {
		return nil
	}
	found, _ := s.store.DamageChanges()
	if !s.opts.DryRun && (s.looked == nil || *s.looked != found) {
		copies, err := s.store.RescueCopies(ctx)
		s.report.Copies += copies
		s.back += copies
		if err != nil {
			return err
		}
		s.looked = &found
	}
	roots, err := s.store.RescueRoots(ctx, s.opts.DryRun)
	if s.opts.DryRun {
		s.report.Roots = roots // those that were counted before are still lost
		return err
	}
	s.report.Roots += roots
	s.back += roots
	return err
}

// lookAgain proves the packs again whose lost chunks may have come back from
// elsewhere meanwhile: then nothing is lost with them, and they are replaced.
func (s *scrub) lookAgain(ctx context.Context) error {
	if !s.opts.Repair || s.opts.DryRun || s.back == 0 {
		return nil
	}
	for _, t := range s.hurt {
		found, err := s.store.ProvePack(ctx, t.number, chunkstore.ProveOptions{Deep: s.opts.Deep, Expect: t.expect, Workers: s.workers()})
		if err != nil {
			return err
		}
		if found.Repairable() {
			if err := s.mend(ctx, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// quarantine moves the packs out of the way that were replaced.
func (s *scrub) quarantine(ctx context.Context) error {
	if !s.opts.Repair || s.opts.DryRun {
		return nil
	}
	moved, err := s.store.FinishRepairs(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.report.RepairErrors = append(s.report.RepairErrors, err.Error())
	}
	for i := range s.report.Repairs {
		r := &s.report.Repairs[i]
		for n, at := range moved {
			if packText(n) == r.Pack {
				r.Quarantine = at
			}
		}
	}
	return nil
}

// sumUp counts the damage that is left and marks the versions.
func (s *scrub) sumUp(ctx context.Context) error {
	if err := s.quarantine(ctx); err != nil {
		return err
	}
	if s.opts.Repair && !s.opts.DryRun && len(s.gone) > 0 {
		// Packs to which nothing leads any more are forgotten.
		if err := s.store.NoteLost(ctx, s.gone, func(chunkstore.DamagedChunk) {}); err != nil {
			return err
		}
	}
	hurt, all, err := s.hurtNow(ctx)
	if err != nil {
		return err
	}
	s.report.Left = *hurt
	if s.opts.VM != "" || !all {
		return markHurt(s.store, hurt, s.began)
	}
	return s.markAll(ctx, hurt)
}

// hurtNow is Hurt with what is found meanwhile: to follow the maps of all versions takes
// its time, and none is to be marked valid for which a read has found damage just then.
// all says that nothing more was found since it last began.
func (s *scrub) hurtNow(ctx context.Context) (hurt *HurtReport, all bool, err error) {
	for n := 0; n < verifyRounds && !all; n++ {
		found, _ := s.store.DamageChanges()
		if hurt, err = hurtOf(ctx, s.store, nil, s.gently); err != nil {
			return nil, false, err
		}
		now, _ := s.store.DamageChanges()
		all = now == found
	}
	return hurt, all, nil
}
