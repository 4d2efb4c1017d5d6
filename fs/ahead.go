package fs

import (
	"context"
	"sync"
)

// manyStrewn is how many reads of an image that belong to no stream make it likely
// that more follow, all over the disk.
const manyStrewn = 2

// ahead is what a tree loads beside its requests, until ctx ends.
type ahead struct {
	ctx     context.Context
	stop    context.CancelFunc
	mu      sync.Mutex // none begins after close
	running sync.WaitGroup
}

// begin runs do beside its caller, unless close was called.
func (a *ahead) begin(do func(context.Context)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() == nil {
		a.running.Go(func() { do(a.ctx) })
	}
}

// close waits for what is under way.
func (a *ahead) close() {
	a.mu.Lock()
	a.stop()
	a.mu.Unlock()
	a.running.Wait()
}

// readsAllOver is called for each read of the image that belongs to no stream. Each
// of them would wait for a region map as well; those of one disk lie side by side in
// their pack, so they are loaded together as soon as there have been a few.
func (im *imageNode) readsAllOver() {
	if im.strewn.Load() >= manyStrewn || im.strewn.Add(1) != manyStrewn {
		return
	}
	im.t.ahead.begin(im.data.LoadMaps)
}
