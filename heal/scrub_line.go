package heal

import "sync"

// line is packs to prove, in the order in which they became known: provers take the
// first ones while others are still looked for. It holds all that were ever added. Safe
// for concurrent use.
type line struct {
	mu    sync.Mutex // guards what follows
	more  sync.Cond  // a target was added, or the line ended
	all   []target
	taken int
	ended bool
}

func newLine() *line {
	l := new(line)
	l.more.L = &l.mu
	return l
}

// add puts packs at the end of the line.
func (l *line) add(more ...target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, more...)
	l.more.Broadcast()
}

// end says that no more are added.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.more.Broadcast()
}

// take waits for the next pack. It returns false where there is none any more.
func (l *line) take() (target, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.taken == len(l.all) && !l.ended {
		l.more.Wait()
	}
	if l.taken == len(l.all) {
		return target{}, false
	}
	l.taken++
	return l.all[l.taken-1], true
}

// len is how many were added.
func (l *line) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}
