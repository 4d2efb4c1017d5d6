package chunkstore

import (
	"context"
	"time"
)

// asideStep is how often who wants to scrub looks whether the scrub in the
// background has stepped aside.
const asideStep = 5 * time.Millisecond

// BeginScrub takes the right to scrub the store, which one caller has at a
// time, and returns how to give it back. A scrub in the background steps aside.
func (s *Store) BeginScrub() (end func(), ok bool) {
	d := &s.damage
	for !d.scrubbing.TryLock() {
		d.asideMu.Lock()
		aside := d.aside
		d.asideMu.Unlock()
		if aside == nil {
			if d.scrubbing.TryLock() { // it ended between the two looks
				break
			}
			return nil, false
		}
		aside()
		time.Sleep(asideStep)
	}
	return d.scrubbing.Unlock, true
}

// BeginBackgroundScrub is BeginScrub for a scrub that nobody waits for: the
// context that it returns ends when somebody calls BeginScrub.
func (s *Store) BeginBackgroundScrub(ctx context.Context) (_ context.Context, end func(), ok bool) {
	d := &s.damage
	if !d.scrubbing.TryLock() {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(ctx)
	d.asideMu.Lock()
	d.aside = cancel
	d.asideMu.Unlock()
	return ctx, func() {
		cancel()
		d.asideMu.Lock()
		d.aside = nil
		d.asideMu.Unlock()
		d.scrubbing.Unlock()
	}, true
}
