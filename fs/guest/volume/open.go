package volume

import (
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

// Opener opens a volume with one reader; guest.ErrNotMine when the volume does
// not hold that reader's format.
type Opener func(ctx context.Context, v *Volume) (guest.Filesystem, error)

// Plain makes an Opener of a reader that needs no more than a volume's bytes.
func Plain[F guest.Filesystem](open func(context.Context, guest.Volume) (F, error)) Opener {
	return func(ctx context.Context, v *Volume) (guest.Filesystem, error) {
		fs, err := open(ctx, v)
		if err != nil {
			return nil, err // not an interface that holds a nil pointer
		}
		return fs, nil
	}
}

// Open opens the volume's filesystem with the first of the openers that knows
// it. guest.ErrUnsupported, with the reason, when none does or the volume is
// none that holds files.
func Open(ctx context.Context, v *Volume, openers []Opener) (guest.Filesystem, error) {
	switch v.State {
	case OK, Degraded, Incomplete, Empty:
	default:
		return nil, fmt.Errorf("open volume %s: %s (%s): %w", v.Name, v.State, v.Reason, guest.ErrUnsupported)
	}
	for _, open := range openers {
		fs, err := open(ctx, v)
		if errors.Is(err, guest.ErrNotMine) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open volume %s: %w", v.Name, err)
		}
		return fs, nil
	}
	what := v.Type
	if what == "" {
		what = "unknown content"
	}
	return nil, fmt.Errorf("open volume %s: %s: %w", v.Name, what, guest.ErrUnsupported)
}
