package cache

// list is a queue of chunks, linked through them. A chunk is in one list at a
// time. The zero value is empty.
type list struct {
	front, back *Chunk
	n           int
	bytes       int64 // what its chunks are charged with
}

func (l *list) pushBack(ch *Chunk) {
	ch.in, ch.prev, ch.next = l, l.back, nil
	if l.back != nil {
		l.back.next = ch
	} else {
		l.front = ch
	}
	l.back = ch
	l.n++
	l.bytes += ch.charge
}

func (l *list) remove(ch *Chunk) {
	if ch.prev != nil {
		ch.prev.next = ch.next
	} else {
		l.front = ch.next
	}
	if ch.next != nil {
		ch.next.prev = ch.prev
	} else {
		l.back = ch.prev
	}
	ch.in, ch.prev, ch.next = nil, nil, nil
	l.n--
	l.bytes -= ch.charge
}

func (l *list) moveToBack(ch *Chunk) {
	l.remove(ch)
	l.pushBack(ch)
}

// ghosts remembers the ids of chunks that left lately, by their first eight
// bytes (ids are hashes), in a ring of fixed size.
type ghosts struct {
	ring []uint64
	next int
	at   map[uint64]int // place in ring
}

func (g *ghosts) init(n int) {
	g.ring = make([]uint64, n)
	g.at = make(map[uint64]int, n)
}

func (g *ghosts) add(key uint64) {
	if old := g.ring[g.next]; g.at[old] == g.next {
		delete(g.at, old)
	}
	g.ring[g.next] = key
	g.at[key] = g.next
	g.next = (g.next + 1) % len(g.ring)
}

// take reports whether key is remembered, and forgets it.
func (g *ghosts) take(key uint64) bool {
	_, ok := g.at[key]
	delete(g.at, key)
	return ok
}
