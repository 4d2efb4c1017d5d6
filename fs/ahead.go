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
	running sync.WaitGroup
}

// readsAllOver is called for each read of the image that belongs to no stream. Each
// of them would wait for a region map as well; those of one disk lie side by side in
// their pack, so they are loaded together as soon as there have been a few.
func (im *imageNode) readsAllOver() {
	if im.strewn.Load() >= manyStrewn || im.strewn.Add(1) != manyStrewn {
		return
	}
	a := &im.t.ahead
	a.running.Go(func() { im.data.LoadMaps(a.ctx) })
}
