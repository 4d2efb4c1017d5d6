package heal

import (
	"context"
	"errors"
	"time"

	"holdfast/chunkstore"
	"holdfast/chunkstore/pack"
)

const readTries = 4

// patiently reads again what could not be read, each time later: an I/O error
// proves nothing.
func patiently(ctx context.Context, pause time.Duration, read func() error) error {
	for try := 1; ; try++ {
		err := read()
		d, is := errors.AsType[*pack.Damage](err)
		if !is || d.Kind != pack.Unreadable || try == readTries {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		pause *= 4
	}
}

// patientGetter is a store that is read patiently.
type patientGetter struct {
	*chunkstore.Store
	pause time.Duration
}

// Get implements chunkstore.Getter.
func (g patientGetter) Get(ctx context.Context, id pack.ID, buf []byte) (plain []byte, err error) {
	err = patiently(ctx, g.pause, func() error {
		plain, err = g.Store.Get(ctx, id, buf)
		return err
	})
	return plain, err
}
