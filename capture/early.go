package capture

import (
	"context"
	"fmt"
	"sync"

	"holdfast/capture/source"
)

// readAhead is how much of the sources the kernel is asked for before a capture reads
// them: what disks bring while a store is opened that nobody else has open.
const readAhead = 256 << 20

// Early is what of a capture needs no store: it looks for the guest's files, and has
// the kernel read the first data of the sources.
type Early struct {
	cancel context.CancelFunc // ends both
	enough context.CancelFunc // ends reading ahead
	ahead  sync.WaitGroup

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
	reading, enough := context.WithCancel(ctx)
	e.enough = enough
	e.ahead.Go(func() {
		for _, in := range opts.Disks {
			if len(in.Source.Files) > 0 {
				source.ReadAhead(reading, in.Source.Files[0], readAhead/int64(len(opts.Disks)))
			}
		}
	})
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

// stopAhead ends reading ahead: from now on the capture reads.
func (e *Early) stopAhead() { e.enough() }

// Close ends what is under way. No capture that uses it may run.
func (e *Early) Close() {
	if e.cancel == nil {
		return
	}
	e.cancel()
	e.ahead.Wait()
	<-e.looked
	if e.found != nil {
		e.found.close()
	}
}
