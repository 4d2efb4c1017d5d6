package capture

import (
	"context"
	"fmt"
)

// Early is what of a capture needs no store: it looks for the guest's files.
//
// It reads none of the data that the capture will read, though the disk has time for it:
// opening a store is a dozen small reads and nine syncs, one after the other, and each waits
// behind what was asked for before it. Measured on 0.66 GB, cold: while the kernel read
// ahead, 8 MiB at a time, the store was open after 220 to 440 ms, else after 110 to 145,
// and the whole capture took 1.3 to 1.4 times as long.
type Early struct {
	cancel context.CancelFunc

	looked chan struct{} // closed when what follows is set
	found  *scanned
	err    error
}

// Prepare begins a capture while its store is opened. Run takes what it finds from
// the options' Early; a capture that is tried again looks anew. The caller closes it
// before the sources.
func Prepare(ctx context.Context, opts Options) *Early {
	e := &Early{looked: make(chan struct{})}
	if e.err = opts.fill(); e.err != nil {
		e.err = fmt.Errorf("capture %q: %w", opts.VM, e.err)
		close(e.looked)
		return e
	}
	ctx, e.cancel = context.WithCancel(ctx)
	go func() {
		defer close(e.looked)
		e.found, e.err = scanDisks(ctx, &opts)
	}()
	return e
}

// scanned waits for what was found of the guest, which stays Early's.
func (e *Early) scanned(ctx context.Context) (*scanned, error) {
	select {
	case <-e.looked:
		return e.found, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends what is under way. No capture that uses it may run.
func (e *Early) Close() {
	if e.cancel == nil {
		return
	}
	e.cancel()
	<-e.looked
	if e.found != nil {
		e.found.close()
	}
}
