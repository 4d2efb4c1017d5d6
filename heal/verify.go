package heal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// Verify proves one version now: its maps fit each other, every chunk that they
// name is there, and each one's pack is proved, unless it was since the version
// was captured; deep, every such pack is proved anew by decoding. The result
// becomes the version's state.
func Verify(ctx context.Context, store *chunkstore.Store, v *catalog.Version, opts Options) (*VerifyReport, error) {
	opts.fill()
	began := time.Now()
	r := &VerifyReport{VM: v.VM, Version: v.ID, Problems: []string{}}
	if err := verify(ctx, store, v, opts, r); err != nil {
		return nil, fmt.Errorf("verify version %s of %q: %w", v.ID, v.VM, err)
	}
	st := chunkstore.RootState{State: chunkstore.Valid, When: began}
	for _, c := range r.Hurt.Chunks {
		if c.Kind != pack.Unreadable.String() {
			st.State = chunkstore.Hurt
		} else if st.State == chunkstore.Valid {
			st.State = chunkstore.Incomplete
		}
	}
	if len(r.Problems) > 0 {
		st.State, st.Lasting = chunkstore.Hurt, true
	}
	r.State = st.State.String()
	return r, store.SetRootState(catalog.RootName(v.VM, v.ID), st)
}

func verify(ctx context.Context, store *chunkstore.Store, v *catalog.Version, opts Options, r *VerifyReport) error {
	w := newWalk(store)
	used := map[uint64]bool{}
	if err := w.packs(ctx, version{v.VM, v.ID, v}, used); err != nil {
		return err
	}
	if err := provePacks(ctx, store, v, used, opts, r); err != nil {
		return err
	}
	hurt, err := hurtOf(ctx, store, v, nil)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Problems = append(r.Problems, err.Error())
	}
	r.Hurt = HurtReport{Chunks: []HurtChunk{}, Packs: []HurtPack{}, Manifests: []string{}}
	if hurt != nil {
		for _, c := range hurt.Chunks {
			if len(c.Uses) > 0 { // others' damage is not this version's
				r.Hurt.Chunks = append(r.Hurt.Chunks, c)
			}
		}
	}
	if len(r.Hurt.Chunks) > 0 || len(r.Problems) > 0 {
		return nil
	}
	for i := range v.Disks {
		rd, err := disk.Open(nil, w.maps, v.Disks[i].Map)
		if err == nil {
			err = rd.Check(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("disk %q: %v", v.Disks[i].Name, err))
		}
	}
	return nil
}

// provePacks proves the packs that were not proved since the capture.
func provePacks(ctx context.Context, store *chunkstore.Store, v *catalog.Version, used map[uint64]bool, opts Options, r *VerifyReport) error {
	places, err := store.CountPlaces(ctx)
	if err != nil {
		return err
	}
	pc := newPace(opts.Rate)
	var todo []chunkstore.KnownPack
	err = store.KnownPacks(ctx, func(p chunkstore.KnownPack) error {
		if !used[p.Number] {
			return nil
		}
		if !opts.Deep && p.Proof.Result == chunkstore.PackWhole && p.Proof.When.After(v.Captured) {
			r.Proved++
			return nil
		}
		todo = append(todo, p)
		opts.Progress.Total.Add(p.Size)
		return nil
	})
	if err != nil {
		return err
	}
	gone := map[uint64]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	missing := make([]bool, len(todo))
	for i, p := range todo {
		g.Go(func() error {
			wrap := func(in io.ReaderAt) io.ReaderAt { return &paced{in, gctx, pc, opts.Progress} }
			found, err := store.ProvePack(gctx, p.Number, chunkstore.ProveOptions{Deep: opts.Deep, Expect: places[p.Number], Workers: runtime.GOMAXPROCS(0), Reader: wrap})
			missing[i] = found.Missing
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, p := range todo {
		if missing[i] {
			gone[p.Number] = true
		}
	}
	r.Packs = len(todo)
	if len(gone) == 0 {
		return nil
	}
	return store.NoteLost(ctx, gone, func(chunkstore.DamagedChunk) {})
}

// Source is what a version is compared with: a disk as it is now. Extent says
// how long the run at off is and whether it holds data; a run without data
// reads as zeros.
type Source interface {
	io.ReaderAt
	Size() int64
	Extent(off int64) (length int64, data bool, err error)
}

// LeavesOut is a Source that knows what a capture of it leaves out: where
// LeftOut says so and the version reads as zeros, the two don't differ. It is
// asked only where bytes differ, in sectors of 512 bytes.
type LeavesOut interface {
	LeftOut(off, length int64) bool
}

// Range is a run of a disk's bytes.
type Range struct {
	Disk   string `json:"disk"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

const (
	compareStep = 1 << 20
	compareUnit = 4096 // differing ranges are told in these
	maxDiffer   = 1000
)

// Compare compares a disk of a version with a source, byte by byte, and returns
// how many bytes were compared and where they differ, at most 1000 ranges in
// units of 4096 bytes. Where both have a hole nothing is read. get may be any
// store. It holds 2 MiB and a cache of 16 MiB.
func Compare(ctx context.Context, get cache.Getter, d *catalog.Disk, src Source, progress *Progress) (n int64, differ []Range, err error) {
	chunks, err := cache.New(get, cache.Options{Bytes: 16 << 20})
	if err != nil {
		return 0, nil, err
	}
	defer chunks.Close()
	r, err := disk.Open(chunks, disk.NewMaps(get, 0), d.Map)
	if err != nil {
		return 0, nil, err
	}
	if progress == nil {
		progress = new(Progress)
	}
	progress.Total.Add(r.Size())
	a, b := make([]byte, compareStep), make([]byte, compareStep)
	end := min(r.Size(), src.Size())
	lacks := func(int64, int64) bool { return false }
	if l, ok := src.(LeavesOut); ok {
		lacks = l.LeftOut
	}
	if r.Size() != src.Size() {
		differ = append(differ, Range{d.Name, end, max(r.Size(), src.Size()) - end})
	}
	for off := int64(0); off < end && len(differ) < maxDiffer; {
		length, hole, err := bothHoles(ctx, r, src, off)
		if err != nil {
			return n, differ, err
		}
		step := min(length, end-off)
		if !hole {
			step = min(step, compareStep)
			if err := r.ReadAtContext(ctx, a[:step], off); err != nil {
				return n, differ, err
			}
			if got, err := src.ReadAt(b[:step], off); int64(got) < step {
				return n, differ, fmt.Errorf("read source, %d bytes at %d: %w", step, off, errors.Join(err, io.ErrUnexpectedEOF))
			}
			differ = addDiffer(differ, d.Name, off, a[:step], b[:step], lacks)
		}
		off += step
		n += step
		progress.Done.Add(step)
	}
	return n, differ, nil
}

// bothHoles returns the length of the run at off, and whether neither side
// stores anything there.
func bothHoles(ctx context.Context, r *disk.Reader, src Source, off int64) (int64, bool, error) {
	n, data, err := r.Extent(ctx, off)
	if err != nil {
		return 0, false, err
	}
	m, sdata, err := src.Extent(off)
	if err != nil {
		return 0, false, fmt.Errorf("extent of the source at %d: %w", off, err)
	}
	if data || sdata {
		return compareStep, false, nil
	}
	return max(1, min(n, m)), true, nil
}

// addDiffer adds the units in which a version (a) differs from its source (b),
// neighbours as one range.
func addDiffer(differ []Range, name string, off int64, a, b []byte, lacks func(off, length int64) bool) []Range {
	for from := 0; from < len(a); from += compareUnit {
		to := min(from+compareUnit, len(a))
		if equalUnit(a[from:to], b[from:to], off+int64(from), lacks) {
			continue
		}
		at, n := off+int64(from), int64(to-from)
		if last := len(differ) - 1; last >= 0 && differ[last].Offset+differ[last].Length == at {
			differ[last].Length += n
		} else {
			differ = append(differ, Range{name, at, n})
		}
	}
	return differ
}

// equalUnit compares a unit; sectors that were left out are equal to any.
func equalUnit(a, b []byte, off int64, lacks func(off, length int64) bool) bool {
	if string(a) == string(b) {
		return true
	}
	const sector = 512
	var zeros [sector]byte
	for from := 0; from < len(a); from += sector {
		to := min(from+sector, len(a))
		if string(a[from:to]) == string(b[from:to]) {
			continue
		}
		if string(a[from:to]) != string(zeros[:to-from]) || !lacks(off+int64(from), int64(to-from)) {
			return false
		}
	}
	return true
}
