package cache

// passedShare is the part of a shard's room that what streams went past may take:
// a few streams close behind each other find it, and the same buffers come round
// while they are still in the processor's caches.
const passedShare = 16

// trim gives up what exceeds the budget, after a release made that possible.
func (s *shard) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom()
}

// makeRoom evicts until the budget is kept or everything left is held.
func (s *shard) makeRoom() {
	if s.used+s.usedAhead <= s.limit {
		return
	}
	// Set before looking at anyone's references: who releases after that
	// look sees the flag and trims.
	s.over.Store(true)
	for s.used+s.usedAhead > s.limit {
		if s.evict(&s.passed) {
			continue
		}
		first, second := &s.kept, &s.fresh
		if s.fresh.bytes > s.limit/4 || s.kept.n == 0 {
			first, second = second, first
		}
		if !s.evict(first) && !s.evict(second) && !s.evict(&s.ahead) {
			return
		}
	}
	s.over.Store(false)
}

// evict gives up the oldest chunk of l that nobody holds and that has no
// second chance left. It reports false when there is none.
func (s *shard) evict(l *list) bool {
	for range 2 * l.n { // twice: the first look may take a second chance away
		ch := l.front
		switch {
		case ch.refs.Load() > 1: // rises only under s.mu
			l.moveToBack(ch)
		case ch.hot:
			ch.hot = false
			l.moveToBack(ch)
		default:
			s.drop(ch)
			return true
		}
	}
	return false
}

func (s *shard) drop(ch *Chunk) {
	if ch.ahead {
		s.count.PrefetchWasted++
	} else {
		s.count.Evicted++
		s.gone.add(ch.key.ghost())
	}
	s.discard(ch)
}

// discard forgets a chunk that is in a list.
func (s *shard) discard(ch *Chunk) {
	ch.in.remove(ch)
	s.remove(ch)
	if ch.ahead {
		s.usedAhead -= ch.charge
	} else {
		s.used -= ch.charge
	}
	s.release(ch)
}
