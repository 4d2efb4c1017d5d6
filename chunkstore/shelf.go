package chunkstore

import (
	"slices"
	"sync"

	"holdfast/chunkstore/media"
	"holdfast/chunkstore/pack"
)

const (
	// aheadEvery is how many chunks lie between two of which it is looked up where
	// they are.
	aheadEvery = 16
	// aheadMost is read at once.
	aheadMost = 4 << 20
	// aheadLeast is a run that is worth it. Shorter ones are left to the rows, who read
	// side by side what the caller of Ahead would read one after the other.
	aheadLeast = 128 << 10
	// aheadAlign is what O_DIRECT asks of offsets and memory.
	aheadAlign = 4 << 10
)

// Rows brings chunks back for several readers who together want them mostly in the
// order in which they were put, as those are who read a disk from front to back.
type Rows interface {
	// Row returns a Getter for one caller at a time.
	Row() Getter
	// Ahead reads the records of chunks that some row wants next, in this order, as
	// far as they lie so in a pack and there is room. It is advice, and for one
	// caller at a time.
	Ahead(want []Want)
}

// Want is a chunk and its plain length.
type Want struct {
	ID  ID
	Len int
}

// shelf keeps stretches of packs, for its rows to take records from. Captures put
// several regions of a disk at a time, whose chunks so lie between one another: a
// stretch that was read for one region serves its neighbours too.
type shelf struct {
	store *Store
	mem   []byte

	mu        sync.Mutex // guards all below, and users
	stretches []*stretch
	next      int // in mem, where the next stretch begins: behind the youngest
}

// stretch is a part of a pack in memory. Its bytes never change, and while it has users
// its memory is not used anew.
type stretch struct {
	spot
	bytes    []byte
	end      int64 // the records that begin before it are whole
	from, to int   // in the shelf's memory
	users    int
}

// InOrder returns rows over the store's chunks, which keep what they read ahead in
// mem: its address is a multiple of 4096, and it is theirs for as long as they are
// used.
func (s *Store) InOrder(mem []byte) Rows {
	s.warmFor(&s.warmth.begun)
	return &shelf{store: s, mem: mem}
}

// Row implements Rows.
func (s *shelf) Row() Getter { return &Run{store: s.store, shelf: s} }

// Ahead implements Rows. It looks one chunk in 16 up, more where a run of a pack ends
// between two, and reads from one to the next in one go where that is no more than
// twice what the chunks themselves take by the lengths of these two. What the page cache
// does not have is read past it.
func (s *shelf) Ahead(want []Want) {
	s.store.activity.begin()
	defer s.store.activity.end()
	r := runs{shelf: s, want: want, tries: len(want) / 4}
	for i := 0; i < len(want); i += aheadEvery {
		r.reach(i)
	}
	r.reach(len(want) - 1)
	s.read(r.from, r.to)
}

// runs finds the runs of packs in which chunks lie.
type runs struct {
	*shelf
	want     []Want
	from, to place // the run at hand, to the end of chunk at
	at       int
	tries    int // look-ups left for where runs end
}

// reach goes on to chunk i.
func (r *runs) reach(i int) {
	if i < r.at {
		return
	}
	p, ok, err := r.store.lookup(r.want[i].ID)
	if err != nil || !ok {
		return
	}
	r.join(i, p)
}

// join takes chunk i, at its place, to the run at hand, or else reads that and begins
// another: where one ends and the next begins it finds by halves.
func (r *runs) join(i int, p place) {
	most := int64(i-r.at) * int64(p.recordLen()+r.to.recordLen())
	gap := p.end() - r.to.end()
	if p.pack == r.to.pack && gap >= 0 && gap <= most {
		r.to, r.at = p, i
		return
	}
	if mid := (r.at + i) / 2; mid > r.at && r.tries > 0 {
		r.tries--
		r.reach(mid)
		r.join(i, p)
		return
	}
	r.read(r.from, r.to)
	r.from, r.to, r.at = p, p, i
}

// read reads a pack from one record to the end of another, but for what is there.
func (s *shelf) read(from, to place) {
	if to.end()-int64(from.offset) < aheadLeast || len(s.mem) == 0 {
		return
	}
	f, err := s.store.files.open(to.pack)
	if err != nil {
		return
	}
	defer s.store.files.done(f)
	a, ok := f.File.(media.AloneReader)
	if !ok {
		return
	}
	for at := (spot{from.pack, int64(from.offset)}); at.offset < to.end(); {
		if has := s.take(at); has != nil {
			at.offset = has.end
			s.giveBack(has)
			continue
		}
		end := min(s.gapEnd(at, to.end())+pack.MaxRecord, to.end())
		n := int(min(end-at.offset, aheadMost))
		mem := s.free(n + 2*aheadAlign)
		if mem == nil {
			return
		}
		b, err := a.ReadAlone(s.mem[mem.from:mem.to], at.offset, n)
		if err != nil || len(b) < n {
			return
		}
		if at.offset+int64(n) < to.end() {
			n -= pack.MaxRecord // the last one may be cut off
		}
		mem.spot, mem.bytes, mem.end = at, b, at.offset+int64(n)
		s.put(mem)
		at.offset = mem.end
	}
}

// gapEnd returns where the next stretch begins behind a place, at most end.
func (s *shelf) gapEnd(at spot, end int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.stretches {
		if t.pack == at.pack && t.offset > at.offset && t.offset < t.end {
			end = min(end, t.offset)
		}
	}
	return end
}

// take returns the stretch in which a record begins, for giveBack, or nil.
func (s *shelf) take(at spot) *stretch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.stretches {
		if at.pack == t.pack && at.offset >= t.offset && at.offset < t.end {
			t.users++
			return t
		}
	}
	return nil
}

func (s *shelf) giveBack(t *stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.users--
}

// free returns a stretch with n bytes of memory, at least, for put. Those that had it,
// the oldest ones mostly, are forgotten. It returns nil where all memory is in use.
func (s *shelf) free(n int) *stretch {
	n = (n + aheadAlign - 1) &^ (aheadAlign - 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > len(s.mem) {
		return nil
	}
	from := s.next
	for range 2 * (len(s.stretches) + 1) {
		if from+n > len(s.mem) {
			from = 0
		}
		i := slices.IndexFunc(s.stretches, func(t *stretch) bool { return t.users > 0 && from < t.to && t.from < from+n })
		if i < 0 {
			s.stretches = slices.DeleteFunc(s.stretches, func(t *stretch) bool { return from < t.to && t.from < from+n })
			s.next = from + n
			return &stretch{from: from, to: from + n}
		}
		from = s.stretches[i].to
	}
	return nil
}

// put shows a stretch to the rows.
func (s *shelf) put(t *stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stretches = append(s.stretches, t)
}

// end is the byte behind the record.
func (p place) end() int64 { return int64(p.offset) + int64(p.recordLen()) }
