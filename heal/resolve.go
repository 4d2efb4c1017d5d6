package heal

import (
	"context"
	"time"

	"holdfast/chunkstore"
)

// Resolve follows every map of every version, remembers each chunk that they
// name and that the index does not know as missing, and returns all that is
// hurt. It reads maps and no data.
func Resolve(ctx context.Context, store *chunkstore.Store) (*HurtReport, error) {
	s := &scrub{store: store, began: time.Now(), report: new(Report)}
	s.opts.fill()
	if err := s.resolve(ctx); err != nil {
		return nil, err
	}
	return Hurt(ctx, store)
}
