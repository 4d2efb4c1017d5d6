package cache

import (
	"sync"
	"sync/atomic"
)

// shard is the part of a cache that one mutex guards.
type shard struct {
	over atomic.Bool // what is charged may exceed limit: a release must trim
	mu   sync.Mutex  // guards all below
	// chunks knows every chunk that waits, loads or is there.
	chunks map[key]*Chunk
	parts  int  // of them that are parts
	fresh  list // there, asked for once
	kept   list // there, asked for again after it had left fresh
	ahead  list // there, prefetched, not asked for
	passed list // there, asked for once, and a stream went past its end
	gone   ghosts

	limit, limitAhead int64 // limitAhead of limit
	used, usedAhead   int64 // charged, with what loads
	count             Stats
	_                 [64]byte // shards' mutexes lie on cache lines of their own
}

func (s *shard) init(limit, limitAhead int64) {
	s.chunks = make(map[key]*Chunk)
	s.limit, s.limitAhead = limit, limitAhead
	s.gone.init(max(16, int(limit/(32<<10))))
}

// touch notes that ch is asked for again.
func (s *shard) touch(ch *Chunk, p *pool) {
	select {
	case <-ch.done:
		s.count.Hits++
	default:
		s.count.Joined++
	}
	switch {
	case ch.ahead:
		s.useAhead(ch, p)
	case ch.charge != 0 && ch.in == &s.kept: // without a charge, in is the pool's
		ch.hot = true
	}
}

// useAhead turns a prefetched chunk into one that was asked for, wherever it
// stands: there, being loaded, or still waiting for a worker.
func (s *shard) useAhead(ch *Chunk, p *pool) {
	ch.ahead = false
	s.count.PrefetchUsed++
	if ch.charge == 0 {
		p.promote(ch)
		return
	}
	s.usedAhead -= ch.charge
	s.used += ch.charge
	if ch.in == &s.ahead {
		s.ahead.remove(ch)
		s.admit(ch)
	}
	s.makeRoom()
}

// start reserves the bytes of a chunk that a worker took. It reports false,
// and forgets the chunk, when nobody waits for it any more or when there is no
// room for one more prefetched chunk.
func (s *shard) start(ch *Chunk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserve(ch)
}

// take is start for who waits for a chunk that no worker has taken yet, if one
// more load may run now.
func (s *shard) take(ch *Chunk, p *pool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch.hurt || ch.charge != 0 || !p.take(ch) {
		return false
	}
	if !s.reserve(ch) {
		p.leave()
		return false
	}
	return true
}

// putBack gives up a load that did not come the quick way: a worker goes on.
func (s *shard) putBack(ch *Chunk, p *pool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recharge(ch, 0)
	ch.hurt = true
	return p.push(ch, &p.demand)
}

func (s *shard) reserve(ch *Chunk) bool {
	charge := chargeOf(ch.want)
	switch {
	case ch.ahead:
		for s.usedAhead+charge > s.limitAhead {
			if !s.evict(&s.ahead) {
				s.count.PrefetchDropped++
				s.forget(ch, errAbandoned)
				return false
			}
		}
		s.usedAhead += charge
		ch.charge = charge
		s.makeRoom()
	case ch.refs.Load() == 1:
		s.forget(ch, errAbandoned)
		return false
	default:
		s.used += charge
		ch.charge = charge
		s.makeRoom()
	}
	return true
}

// finish publishes n plain bytes that were loaded: the whole chunk, or the part.
func (s *shard) finish(ch *Chunk, buf *buffer, n int, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch.buf, ch.plain, ch.whole = buf, buf.mem[:n:n], whole
	ch.from = ch.cache.partOf(ch.key, ch.length).From
	s.count.LoadedBytes += int64(n)
	if whole {
		ch.from = 0
		if ch.key.part != 0 && !s.widen(ch) {
			s.recharge(ch, 0)
			close(ch.done)
			s.release(ch)
			return
		}
		s.dropParts(ch.id)
	} else {
		s.count.Parts++
	}
	s.recharge(ch, int64(sizes[buf.class]+overhead))
	if ch.ahead {
		s.ahead.pushBack(ch)
	} else {
		s.admit(ch)
	}
	s.makeRoom()
	close(ch.done)
}

// pass takes a chunk that is asked for once out of what stays.
func (s *shard) pass(ch *Chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch.charge == 0 || ch.in != &s.fresh {
		return
	}
	s.fresh.remove(ch)
	s.passed.pushBack(ch)
	for s.passed.bytes > s.limit/passedShare && s.evict(&s.passed) {
	}
}

// release ends the shard's own hold of a chunk that it knows no more.
func (s *shard) release(ch *Chunk) {
	if ch.refs.Add(-1) == 0 {
		ch.free()
	}
}

// fail ends a load with err, which everyone who waits gets.
func (s *shard) fail(ch *Chunk, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recharge(ch, 0)
	s.count.Failed++
	s.forget(ch, err)
}

// recharge changes what a chunk that is in no list is charged with.
func (s *shard) recharge(ch *Chunk, charge int64) {
	if ch.ahead {
		s.usedAhead += charge - ch.charge
	} else {
		s.used += charge - ch.charge
	}
	ch.charge = charge
}

func (s *shard) forget(ch *Chunk, err error) {
	s.remove(ch)
	ch.err = err
	close(ch.done)
	ch.refs.Add(-1) // it has no buffer to free
}

// admit puts a chunk that was asked for into the list it has earned.
func (s *shard) admit(ch *Chunk) {
	if s.gone.take(ch.key.ghost()) {
		s.kept.pushBack(ch)
	} else {
		s.fresh.pushBack(ch)
	}
}
