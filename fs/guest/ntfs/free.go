package ntfs

import (
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

// bitmap opens $Bitmap: a bit for each cluster, set when it is in use.
func (f *FS) bitmap(ctx context.Context) (*stream, error) {
	x, err := f.file(ctx, recordBitmap)
	if err != nil {
		return nil, fmt.Errorf("$Bitmap: %w", asDamage(err))
	}
	s, err := f.stream(ctx, x, attrData, "")
	if err != nil {
		return nil, err
	}
	if s == nil || min(s.size, s.initialised) < (f.g.clusters+7)/8 {
		return nil, guest.Corrupt("ntfs: $Bitmap is too short for %d clusters", f.g.clusters)
	}
	s.meta = true
	return s, nil
}

// Free implements guest.Filesystem from $Bitmap. Since the log is not replayed,
// and not every driver marks a volume that it writes to, $Bitmap is not
// believed before all runs in $MFT were held against it, once: a cluster that a
// file uses and that is free there makes all of it guest.ErrUnsupported, as do
// damage in $MFT and a volume that is dirty, hibernated or has shadow copies.
func (f *FS) Free(ctx context.Context, fn func(guest.Range) bool) error {
	if f.noFree != "" {
		return fmt.Errorf("%s is %w", f.noFree, guest.ErrUnsupported)
	}
	shadowed, err := f.shadowed(ctx)
	if err != nil {
		return err
	}
	if shadowed {
		return fmt.Errorf("free space of a volume with shadow copies, which have what was deleted since, is %w", guest.ErrUnsupported)
	}
	s, err := f.bitmap(ctx)
	if err != nil {
		return err
	}
	if !f.proved.Load() {
		if err := f.prove(ctx, s); err != nil {
			return err
		}
		f.proved.Store(true)
	}
	return f.eachFree(ctx, s, fn)
}

// eachFree gives the runs of clear bits.
func (f *FS) eachFree(ctx context.Context, s *stream, fn func(guest.Range) bool) error {
	b := make([]byte, pageBytes)
	start := int64(-1) // of the open run
	flush := func(end int64) bool {
		from := start
		start = -1
		return from < 0 || fn(guest.Range{Offset: f.g.place(from), Length: f.g.place(end - from)})
	}
	for at := int64(0); at < f.g.clusters; at += 8 * pageBytes {
		piece := b[:min(pageBytes, (f.g.clusters-at+7)/8)]
		if err := f.readStream(ctx, s, piece, at/8); err != nil {
			return err
		}
		for i, bits := range piece {
			first := at + 8*int64(i)
			switch {
			case bits == 0xff && start < 0, bits == 0 && start >= 0 && first+8 <= f.g.clusters:
				continue
			}
			for n := first; n < min(first+8, f.g.clusters); n++ {
				switch used := bits>>(n-first)&1 != 0; {
				case !used && start < 0:
					start = n
				case used && !flush(n):
					return nil
				}
			}
		}
	}
	flush(f.g.clusters)
	return nil
}

var errNotProved = fmt.Errorf("free space of a volume whose $Bitmap and $MFT do not agree is %w", guest.ErrUnsupported)

// prove holds every run of every record in use against $Bitmap.
func (f *FS) prove(ctx context.Context, s *stream) error {
	bits := rangeReader{f: f, s: s}
	if ok, err := bits.allUsed(ctx, 0, f.g.clustersOf(bootLen)); err != nil || !ok {
		return errors.Join(err, errNotProved)
	}
	budget := 8*f.g.clusters + 1024 // of runs: each cluster is in one, with holes between
	for number := range f.records {
		r, err := f.readRecord(ctx, number)
		switch {
		case errors.Is(err, guest.ErrNotExist):
			continue
		case errors.Is(err, guest.ErrCorrupt):
			return fmt.Errorf("%w (%w)", errNotProved, err)
		case err != nil:
			return err
		}
		for i := range r.attrs {
			if err := f.proveRuns(ctx, &bits, &r.attrs[i], &budget); err != nil {
				return wrapRecord(number, err)
			}
		}
	}
	return nil
}

func (f *FS) proveRuns(ctx context.Context, bits *rangeReader, a *attribute, budget *int64) error {
	if a.resident {
		return nil
	}
	var failed error
	err := f.eachRunOf(a, func(r run) bool {
		if *budget--; *budget < 0 {
			failed = errNotProved
		} else if !r.hole() {
			ok, err := bits.allUsed(ctx, r.cluster, r.count)
			if failed = err; err == nil && !ok {
				failed = fmt.Errorf("clusters %d to %d are marked free: %w", r.cluster, r.cluster+r.count-1, errNotProved)
			}
		}
		return failed == nil
	})
	if failed == nil && errors.Is(err, guest.ErrCorrupt) {
		failed = fmt.Errorf("%w (%w)", errNotProved, err)
	}
	return errors.Join(failed, ctx.Err())
}

// rangeReader reads pieces of $Bitmap.
type rangeReader struct {
	f    *FS
	s    *stream
	at   int64 // of held, in bytes
	held []byte
}

// allUsed tells whether all of some clusters are marked as used.
func (b *rangeReader) allUsed(ctx context.Context, cluster, count int64) (bool, error) {
	const piece = 4096
	for count > 0 {
		at := cluster / 8 &^ (piece - 1)
		if b.held == nil || at != b.at {
			held := make([]byte, min(piece, (b.f.g.clusters+7)/8-at))
			if err := b.f.readStream(ctx, b.s, held, at); err != nil {
				return false, err
			}
			b.at, b.held = at, held
		}
		for i := cluster/8 - at; i < int64(len(b.held)) && count > 0; i++ {
			n := min(8-cluster%8, count)
			mask := byte((1<<n - 1) << (cluster % 8))
			if b.held[i]&mask != mask {
				return false, nil
			}
			cluster, count = cluster+n, count-n
		}
	}
	return true, nil
}
