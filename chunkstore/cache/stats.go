package cache

// Stats says what a cache did since it was made, and what it holds.
type Stats struct {
	Hits            int64 // asked for and there
	Joined          int64 // asked for while it was waiting or loading
	Misses          int64 // asked for and not there
	Failed          int64 // loads that ended in an error
	Evicted         int64 // chunks given up that had been asked for
	Parts           int64 // loads of a part alone
	LoadedBytes     int64 // plain bytes loaded
	Prefetched      int64 // prefetches queued
	PrefetchUsed    int64 // of those, asked for later
	PrefetchWasted  int64 // loaded and given up unused
	PrefetchDropped int64 // not loaded for lack of room
	Chunks          int64 // held now, with those waiting and loading
	Bytes           int64 // charged now for chunks that were asked for
	PrefetchBytes   int64 // charged now for prefetched, unused chunks
}

// Stats returns the counts. The shards are counted one after the other.
func (c *Cache) Stats() Stats {
	var sum Stats
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n := s.count
		n.Chunks, n.Bytes, n.PrefetchBytes = int64(len(s.chunks)), s.used, s.usedAhead
		s.mu.Unlock()
		sum.add(n)
	}
	return sum
}

func (a *Stats) add(b Stats) {
	a.Hits += b.Hits
	a.Joined += b.Joined
	a.Misses += b.Misses
	a.Failed += b.Failed
	a.Evicted += b.Evicted
	a.Parts += b.Parts
	a.LoadedBytes += b.LoadedBytes
	a.Prefetched += b.Prefetched
	a.PrefetchUsed += b.PrefetchUsed
	a.PrefetchWasted += b.PrefetchWasted
	a.PrefetchDropped += b.PrefetchDropped
	a.Chunks += b.Chunks
	a.Bytes += b.Bytes
	a.PrefetchBytes += b.PrefetchBytes
}
