package heal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/capture/source"
	"holdfast/capture/source/image"
	"holdfast/chunkstore/pack"
)

// LiveSource is an image file or a block device that may still hold what a
// version's disk held when it was captured.
type LiveSource struct {
	Disk string `json:"disk,omitempty"` // "": any
	Path string `json:"path"`
}

// liveSource is one that is open.
type liveSource struct {
	*source.Opened
	from LiveSource
}

func openLive(from LiveSource) (*liveSource, error) {
	src, err := image.Open(from.Path, source.Options{})
	if err != nil {
		return nil, err
	}
	return &liveSource{src, from}, nil
}

// fromLive reads a source wherever a version's disk of its name used a chunk
// that is lost, at the offset and in the length that the version's map says.
// Whether the source still holds the chunk there is decided by its id alone, so
// it does no harm to look where another VM's disk of that name is meant.
func (s *scrub) fromLive(ctx context.Context, src *liveSource, take func(pack.ID, []byte) error) error {
	hurt, err := Hurt(ctx, s.store)
	if err != nil {
		return err
	}
	var failed error
	for _, c := range hurt.Chunks {
		id, err := pack.ParseID(c.ID)
		if err != nil || c.Kind == pack.Unreadable.String() {
			continue
		}
		rec, err := s.liveRecord(ctx, src, id, c.Uses)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = err // others may be readable
		}
		if rec == nil {
			continue
		}
		if err := take(id, rec); err != nil {
			return err
		}
	}
	return failed
}

// liveRecord looks for a chunk at each place where it was used; nil: the source
// does not hold it.
func (s *scrub) liveRecord(ctx context.Context, src *liveSource, id pack.ID, uses []Use) ([]byte, error) {
	buf := make([]byte, pack.MaxChunk)
	var failed error
	for _, u := range uses {
		switch {
		case u.Kind != pack.KindData.String(), src.from.Disk != "" && u.Disk != src.from.Disk, s.opts.VM != "" && u.VM != s.opts.VM:
			continue
		case u.Offset < 0 || u.Length < 1 || u.Length > pack.MaxChunk || u.Offset > src.Size()-u.Length:
			continue // it has become smaller
		}
		b := buf[:u.Length]
		if n, err := src.ReadAt(b, u.Offset); n < len(b) {
			failed = fmt.Errorf("read %s at %d: %w", src.from.Path, u.Offset, errors.Join(err, io.ErrUnexpectedEOF))
			continue
		}
		if s.store.ID(b) == id {
			return s.store.Codec().Encode(nil, pack.KindData, id, b).Bytes, nil
		}
	}
	return nil, errors.Join(failed, ctx.Err())
}
