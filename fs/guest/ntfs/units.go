package ntfs

import (
	"context"
	"fmt"

	"holdfast/fs/guest"
	"holdfast/fs/guest/ntfs/lz"
)

// maxUnit bounds a compression unit in bytes; Windows makes 64 KiB at most.
const maxUnit = 1 << 20

// units are one compression unit, or several in a row that are all holes or
// all stored as they are.
type units struct {
	start, count int64 // clusters
	data         int64 // of them that lie in the volume
	runs         []run
}

func (u *units) hole() bool { return u.data == 0 }

// eachUnit calls fn for a compressed stream's units from one cluster, where a
// unit begins, up to another, until fn returns false. A unit without clusters
// is a hole; one with all of its clusters is stored as it is; in one with some,
// these come first and hold what LZNT1 has packed.
func (f *FS) eachUnit(ctx context.Context, s *stream, from, to int64, fn func(units) bool) error {
	n := int64(1) << s.unitLog
	var open units
	more := true
	emit := func() bool {
		more = fn(open)
		open = units{runs: open.runs[:0]}
		return more
	}
	err := f.eachRun(ctx, s, from, min(to, f.g.clustersOf(s.span)), func(r run) bool {
		for r.count > 0 && more {
			take := min(r.count, n-open.count)
			if open.count == 0 && r.count >= n {
				take = r.count &^ (n - 1)
			}
			if open.count == 0 {
				open.start = r.start
			}
			piece := r
			piece.count = take
			open.runs = append(open.runs, piece)
			open.count += take
			if !r.hole() {
				open.data += take
				r.cluster += take
			}
			r.start, r.count = r.start+take, r.count-take
			if open.count >= n {
				emit()
			}
		}
		return more
	})
	if err == nil && more && open.count > 0 { // the last one ends with a hole
		open.count = n
		emit()
	}
	return err
}

// checkUnits refuses compression units that can't be.
func (f *FS) checkUnits(s *stream) error {
	if s.unitLog == 0 || s.unitLog > 16 || f.g.clusterSize<<s.unitLog > maxUnit {
		return fmt.Errorf("ntfs record %d: compression units of 2^%d clusters are %w", s.owner, s.unitLog, guest.ErrUnsupported)
	}
	return nil
}

// readUnits fills p from a compressed stream.
func (f *FS) readUnits(ctx context.Context, s *stream, p []byte, off int64) error {
	if err := f.checkUnits(s); err != nil {
		return err
	}
	n := int64(1) << s.unitLog
	from, to := off>>f.g.clusterLog&^(n-1), (f.g.clustersOf(off+int64(len(p)))+n-1)&^(n-1)
	var failed error
	done := 0
	err := f.eachUnit(ctx, s, from, to, func(u units) bool {
		within := off + int64(done) - f.g.place(u.start)
		piece := p[done:min(int64(len(p)), int64(done)+f.g.place(u.count)-within)]
		failed = f.readUnit(ctx, s, u, piece, within)
		done += len(piece)
		return failed == nil && done < len(p)
	})
	switch {
	case failed != nil:
		return failed
	case err == nil && done < len(p):
		return guest.Corrupt("ntfs record %d: its compressed runs end at byte %d", s.owner, off+int64(done))
	}
	return err
}

// readUnit fills p from a place within units, in bytes.
func (f *FS) readUnit(ctx context.Context, s *stream, u units, p []byte, within int64) error {
	switch {
	case u.hole():
		clear(p)
		return nil
	case u.data == u.count: // as it is
		for _, r := range u.runs {
			size := f.g.place(r.count)
			if within >= size {
				within -= size
				continue
			}
			piece := p[:min(int64(len(p)), size-within)]
			if err := f.readRun(ctx, s, r, piece, within); err != nil {
				return err
			}
			p, within = p[len(piece):], 0
		}
		return nil
	}
	return f.unpackUnit(ctx, s, u, p, within)
}

// unpackUnit fills p from a place within a packed unit.
func (f *FS) unpackUnit(ctx context.Context, s *stream, u units, p []byte, within int64) error {
	packed := make([]byte, f.g.place(u.data))
	at := packed
	for i, r := range u.runs {
		if r.hole() {
			if i+1 < len(u.runs) && len(at) > 0 {
				return guest.Corrupt("ntfs record %d: a hole within packed data at cluster %d", s.owner, r.start)
			}
			continue
		}
		size := f.g.place(r.count)
		if err := f.readRun(ctx, s, r, at[:size], 0); err != nil {
			return err
		}
		at = at[size:]
	}
	plain := make([]byte, within+int64(len(p)))
	n, err := lz.LZNT1(plain, packed)
	if err != nil {
		return guest.Corrupt("ntfs record %d: unit at cluster %d: %v", s.owner, u.start, err)
	}
	clear(plain[n:])
	copy(p, plain[within:])
	return nil
}
