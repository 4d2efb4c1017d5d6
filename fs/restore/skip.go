package restore

import (
	"context"
	"errors"
	"slices"
	"sync"

	"holdfast/chunkstore"
	"holdfast/chunkstore/disk"
	"holdfast/chunkstore/pack"
)

// Skipped is a run of the guest's disk that was left out because it did not come
// back, and that reads as zeros in the image.
type Skipped struct {
	Offset int64  `json:"offset"` // on the guest's disk, not in the image file
	Length int64  `json:"length"`
	Chunk  string `json:"chunk"` // the one that is damaged
	What   string `json:"what"`  // it holds: data, or the map of this run
	Kind   string `json:"kind"`  // corrupt, missing or unreadable
}

// skips gathers what is left out. It is safe for concurrent use.
type skips struct {
	mu   sync.Mutex // guards list
	list []Skipped
}

// damageOf returns the damage that an error means. A chunk that the store does
// not know, though a map names it, is missing.
func damageOf(err error, id pack.ID) (*pack.Damage, bool) {
	if d, ok := errors.AsType[*pack.Damage](err); ok {
		return d, true
	}
	if errors.Is(err, chunkstore.ErrNotFound) {
		return &pack.Damage{Kind: pack.Missing, ID: id, Err: err}, true
	}
	return nil, false
}

// skip takes in an error of reading a run, and reports whether the run is to be
// zeros; else the error counts.
func (d *direct) skip(err error, off, length int64, what string, id pack.ID) bool {
	if d.skipped == nil {
		return false
	}
	dmg, ok := damageOf(err, id)
	if !ok {
		return false
	}
	d.skipped.mu.Lock()
	defer d.skipped.mu.Unlock()
	s := Skipped{Offset: off, Length: length, What: what, Kind: dmg.Kind.String()}
	if !dmg.ID.IsZero() {
		s.Chunk = dmg.ID.String()
	}
	d.skipped.list = append(d.skipped.list, s)
	return true
}

// sorted returns what was left out in the disk's order, neighbouring runs of one
// chunk as one: windows cut chunks, and compared ones are read in parts.
func (s *skips) sorted() []Skipped {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.list, func(a, b Skipped) int {
		if a.Offset != b.Offset {
			return int(min(max(a.Offset-b.Offset, -1), 1))
		}
		return int(min(max(b.Length-a.Length, -1), 1))
	})
	var out []Skipped
	for _, r := range s.list {
		if n := len(out) - 1; n >= 0 && out[n].Chunk == r.Chunk && out[n].What == r.What && out[n].Offset+out[n].Length >= r.Offset {
			out[n].Length = max(out[n].Length, r.Offset+r.Length-out[n].Offset)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Extent is the disk's. Where a map is damaged and damage is left out, the rest
// of the region counts as data: reading it says what is lost.
func (d *direct) Extent(ctx context.Context, off int64) (length int64, data bool, err error) {
	length, data, err = d.Reader.Extent(ctx, off)
	if err == nil || d.skipped == nil {
		return length, data, err
	}
	if _, ok := damageOf(err, pack.ID{}); !ok {
		return length, data, err
	}
	return min((off/disk.RegionSize+1)*disk.RegionSize, d.Size()) - off, true, nil
}
