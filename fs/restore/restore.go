package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/cache"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
	"holdfast/fs/image"
)

const (
	maxWorkers = 16
	mapBytes   = 32 << 20
	// cacheBytes serves chunks that are wanted in parts, at the edges of
	// windows, and no more.
	cacheBytes = 16 << 20
)

// Store is what a restore reads from.
type Store interface {
	chunkstore.Getter
	// Codec computes the ids of what a target has.
	Codec() *pack.Codec
}

// Options say what is restored and where to.
type Options struct {
	Disk      catalog.Disk
	Time      time.Time    // the version's, for the headers of made-up formats
	Format    image.Format // "": raw
	Out       string       // a file or a block device
	Overwrite bool         // Out may exist; only what differs is written
	Workers   int          // windows worked on at once; 0: by the machine
	Progress  *Progress    // nil: not told
	// Changed, of a raw disk onto a target of its size: all else of the target is
	// trusted to be the version's, and neither read nor written. nil: all is dealt with.
	Changed Changed
	// Skip is called, when all else is written and before the image gets its
	// name, with what did not come back and is zeros in it, unless that is
	// nothing; its error ends the restore. nil: damage ends the restore.
	Skip func([]Skipped) error
}

// Result is what a restore did, in bytes of the image file.
type Result struct {
	Size     int64         `json:"size"`
	Written  int64         `json:"written_bytes"`
	Same     int64         `json:"same_bytes"`    // found as they should be in the target
	Holes    int64         `json:"hole_bytes"`    // zeros that did not have to be written
	Trusted  int64         `json:"trusted_bytes"` // not among what changed
	Skipped  []Skipped     `json:"skipped"`       // damaged, and left out
	Duration time.Duration `json:"duration_ns"`
}

// job is one restore under way.
type job struct {
	store Store
	opts  Options
	disk  *direct
	img   image.Image
	prog  *Progress
}

// open prepares the image of the disk. close must be called.
func open(store Store, opts Options) (*job, error) {
	if opts.Format == "" {
		opts.Format = image.Raw
	}
	if opts.Workers <= 0 {
		opts.Workers = min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) + 2 // two wait for the disks while the cores decode
	}
	opts.Workers = min(opts.Workers, maxWorkers)
	if opts.Progress == nil {
		opts.Progress = new(Progress)
	}
	chunks, err := cache.New(store, cache.Options{Bytes: cacheBytes, Prefetch: cacheBytes / 8})
	if err != nil {
		return nil, err
	}
	r, err := disk.Open(chunks, disk.NewMaps(store, mapBytes), opts.Disk.Map)
	if err != nil {
		chunks.Close()
		return nil, err
	}
	j := &job{store: store, opts: opts, disk: &direct{Reader: r, store: store, get: store, chunks: chunks}, prog: opts.Progress}
	if opts.Skip != nil {
		j.disk.skipped = new(skips)
	}
	if j.img, err = image.New(opts.Format, j.disk, Identity(opts.Disk, opts.Time)); err != nil {
		chunks.Close()
		return nil, err
	}
	if opts.Changed != nil {
		if err := j.forChanged(); err != nil {
			chunks.Close()
			return nil, err
		}
	}
	j.prog.Total.Store(j.ranges().Bytes())
	return j, nil
}

func (j *job) close() { j.disk.chunks.Close() }

// Identity is what the headers of a disk's made-up images say: the same
// wherever and whenever the version is shown.
func Identity(d catalog.Disk, versionTime time.Time) image.Identity {
	return image.Identity{UUID: d.UUID, Time: versionTime}
}

// Run restores one disk.
func Run(ctx context.Context, store Store, opts Options) (Result, error) {
	began := time.Now()
	j, err := open(store, opts)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s: %w", opts.Out, err)
	}
	defer j.close()
	res, err := j.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s: %w", opts.Out, err)
	}
	res.Duration = time.Since(began)
	return res, nil
}

func (j *job) run(ctx context.Context) (Result, error) {
	t, err := j.target()
	if err != nil {
		return Result{}, err
	}
	if !t.fresh && j.opts.Skip == nil {
		// Every map is proved before what is there is touched.
		if err := j.checkMaps(ctx); err != nil {
			return Result{}, errors.Join(err, t.abandon())
		}
	}
	res, err := j.write(ctx, t)
	if err != nil && !t.fresh && res.Written > 0 {
		err = fmt.Errorf("%w; the target is partly written over: restore to it again", err)
	}
	if err != nil {
		return Result{}, errors.Join(err, t.abandon())
	}
	if j.opts.Skip != nil {
		if res.Skipped = j.disk.skipped.sorted(); len(res.Skipped) > 0 {
			if err := j.opts.Skip(res.Skipped); err != nil {
				return Result{}, errors.Join(err, t.abandon())
			}
		}
	}
	return res, t.finish()
}

// Stream writes the image to w front to back, holes as zeros.
func Stream(ctx context.Context, store Store, opts Options, w io.Writer) (Result, error) {
	began := time.Now()
	j, err := open(store, opts)
	if err != nil {
		return Result{}, fmt.Errorf("restore to a stream: %w", err)
	}
	defer j.close()
	size := j.img.Size()
	buf, from := make([]byte, windowBytes, windowBytes+slack), j.disk.inOrder(nil).forOne()
	for off := int64(0); off < size; off += windowBytes {
		b := buf[:min(windowBytes, size-off)]
		if _, err := image.ReadAt(ctx, j.img, from, b, off); err != nil {
			return Result{}, fmt.Errorf("restore to a stream: at byte %d: %w", off, err)
		}
		if _, err := w.Write(b); err != nil {
			return Result{}, fmt.Errorf("restore to a stream: at byte %d: %w", off, err)
		}
		j.prog.Done.Add(int64(len(b)))
	}
	return Result{Size: size, Written: size, Duration: time.Since(began)}, nil
}
