package capture

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// maxWorkers bounds a capture's memory; see the package doc.
const maxWorkers = 24

// Store is what a capture needs of a store.
type Store interface {
	chunkstore.API
	Codec() *pack.Codec
}

// Input is one disk to capture.
type Input struct {
	Name   string         // of the disk in the version
	Path   string         // as it is to be remembered
	Source *source.Opened // stays the caller's to close
}

// Options say what a capture reads and what it is called.
type Options struct {
	VM       string
	At       time.Time // what the version stands for; zero: when the capture began
	Host     string    // remembered in the version
	Program  string    // remembered in the version
	Disks    []Input   // all of them become one version
	Workers  int       // regions in memory at once; 0: by the machine
	Cutter   Cutter    // nil: along the guest's files
	KeepFree bool      // capture what the guest's filesystems don't use
	KeepSwap bool      // capture what swap volumes and Windows' page files hold
	Progress *Progress // nil: not told
	Early    *Early    // of the same disks; nil: Run begins with it
	Log      *slog.Logger
}

func (o *Options) fill() error {
	if o.At.IsZero() {
		o.At = time.Now()
	}
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0) + 2 // some are read while the cores hash
	}
	o.Workers = min(o.Workers, maxWorkers)
	if err := catalog.CheckName("VM", o.VM); err != nil {
		return err
	}
	if len(o.Disks) == 0 || len(o.Disks) > catalog.MaxDisks {
		return fmt.Errorf("%d disks given, want 1 to %d", len(o.Disks), catalog.MaxDisks)
	}
	seen := map[string]bool{}
	for _, d := range o.Disks {
		if err := catalog.CheckName("disk", d.Name); err != nil {
			return err
		}
		if seen[d.Name] {
			return fmt.Errorf("two disks are named %q; name them apart: NAME=PATH", d.Name)
		}
		seen[d.Name] = true
		if n := d.Source.Size(); n < 1 || n > disk.MaxSize {
			return fmt.Errorf("%s: the disk has %d bytes, want 1 to %d", d.Path, n, int64(disk.MaxSize))
		}
	}
	return nil
}

// Run captures the disks and returns the version that is visible then. On any
// error there is no new version.
func Run(ctx context.Context, store Store, opts Options) (*catalog.Version, error) {
	if err := opts.fill(); err != nil {
		return nil, fmt.Errorf("capture %q: %w", opts.VM, err)
	}
	v, err := run(ctx, store, &opts)
	if err != nil {
		return nil, fmt.Errorf("capture %q: %w", opts.VM, err)
	}
	return v, nil
}

func run(ctx context.Context, store Store, opts *Options) (*catalog.Version, error) {
	began := time.Now()
	opts.Progress.begin(opts.Disks)
	early := opts.Early
	if early == nil {
		early = Prepare(ctx, *opts)
		defer early.Close()
	}
	// The session first: it keeps what is taken over from the previous version.
	ses, err := store.Begin(ctx, fmt.Sprintf("capture of %q", opts.VM))
	if err != nil {
		return nil, err
	}
	defer ses.Close()
	previous, err := previousVersion(ctx, store, opts)
	if err != nil {
		return nil, err
	}
	found, err := early.scanned(ctx)
	if err != nil {
		return nil, err
	}
	v := &catalog.Version{
		VM: opts.VM, Time: opts.At, Captured: began.UTC(), Host: opts.Host, Program: opts.Program,
		Cut: found.name(), LeftOut: opts.leftOut(),
	}
	rand.Read(v.UUID[:])
	for _, in := range opts.Disks {
		d, err := captureDisk(ctx, store, ses, in, previous[in.Name], found.of(in.Name), opts)
		if err != nil {
			return nil, fmt.Errorf("disk %q (%s): %w", in.Name, in.Path, err)
		}
		v.Disks = append(v.Disks, *d)
		v.Counts = v.Counts.Add(d.Counts)
	}
	v.Counts.Duration = time.Since(began)
	opts.Progress.committing()
	if err := catalog.Commit(ctx, ses, v); err != nil && !isVisible(ctx, store, v) {
		return nil, err
	}
	return v, nil
}

// isVisible reports whether a version whose commit failed is there after all:
// when an owner dies between its commit and its answer. To capture again would
// make a second version of the same.
func isVisible(ctx context.Context, store Store, v *catalog.Version) bool {
	got, err := catalog.Get(ctx, store, v.VM, v.ID)
	return err == nil && got.UUID == v.UUID
}

// previousVersion opens the disks of the VM's newest version by name. A first
// capture has none.
func previousVersion(ctx context.Context, store Store, opts *Options) (map[string]*previous, error) {
	if st, err := store.Stats(ctx); err != nil {
		return nil, err
	} else if st.Damaged > 0 {
		// What the previous version has at the same place may be what is
		// damaged: asked for, it counts as absent and is stored again.
		opts.Log.Warn("the store has damage: every chunk is looked up", "damaged", st.Damaged)
		return nil, nil
	}
	v, err := catalog.Latest(ctx, store, opts.VM)
	if errors.Is(err, catalog.ErrNoVM) {
		return nil, nil
	}
	if err != nil {
		// The previous version only saves look-ups: without it the capture
		// is slower, and still right.
		opts.Log.Warn("the previous version can't be read; every chunk is looked up", "vm", opts.VM, "err", err)
		return nil, ctx.Err()
	}
	maps := disk.NewMaps(store, previousMapBytes)
	prev := map[string]*previous{}
	for i := range v.Disks {
		d := &v.Disks[i]
		r, err := disk.Open(nil, maps, d.Map)
		if err != nil {
			opts.Log.Warn("a disk of the previous version can't be read; every chunk is looked up", "vm", opts.VM, "disk", d.Name, "err", err)
			continue
		}
		prev[d.Name] = &previous{reader: r}
	}
	return prev, nil
}
