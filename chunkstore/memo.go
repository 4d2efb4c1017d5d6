package chunkstore

import (
	"strings"
	"sync"
)

// maxMemo bounds what a memo keeps, in bytes.
const maxMemo = 32 << 20

// Memo keeps what was made of roots for as long as none is added or dropped whose
// name begins as theirs. Its methods are safe for concurrent use; a nil one keeps
// nothing.
type Memo struct {
	mu      sync.Mutex // guards what follows
	changes uint64
	under   int             // changes of several roots at once that are under way
	kept    map[string]kept // by prefix
	bytes   int64
}

type kept struct {
	value any
	bytes int64
}

// Memo returns the memo of the store's roots.
func (s *Store) Memo() *Memo { return &s.memo }

// Do returns what make made of the roots whose names begin with prefix, now or
// before. Who gets a value must not change it. make says how many bytes the value
// takes, about.
func (m *Memo) Do(prefix string, make func() (value any, bytes int64, err error)) (any, error) {
	if m == nil {
		v, _, err := make()
		return v, err
	}
	m.mu.Lock()
	k, ok := m.kept[prefix]
	ok = ok && m.under == 0
	changes := m.changes
	m.mu.Unlock()
	if ok {
		return k.value, nil
	}
	v, bytes, err := make()
	if err == nil {
		m.keep(prefix, kept{v, bytes + int64(len(prefix)) + 64}, changes)
	}
	return v, err
}

// keep keeps a value that was made when there had been so many changes.
func (m *Memo) keep(prefix string, k kept, changes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.kept[prefix]; again || m.under > 0 || m.changes != changes || k.bytes > maxMemo {
		return
	}
	if m.bytes += k.bytes; m.bytes > maxMemo {
		m.kept, m.bytes = nil, k.bytes
	}
	if m.kept == nil {
		m.kept = map[string]kept{}
	}
	m.kept[prefix] = k
}

// changed drops what was made of roots such as these. It is called when they are
// added or gone, before anybody is told.
func (m *Memo) changed(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	for prefix, k := range m.kept {
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				delete(m.kept, prefix)
				m.bytes -= k.bytes
				break
			}
		}
	}
}

// changing is changed for roots that go together, which is about to begin; until done
// is called nothing is taken from the memo and nothing kept. A version's act goes
// with its version: who has read that there is no act any more must not be given
// versions from before that.
func (m *Memo) changing(names ...string) (done func()) {
	m.mu.Lock()
	m.under++
	m.mu.Unlock()
	return func() {
		m.changed(names...)
		m.mu.Lock()
		m.under--
		m.mu.Unlock()
	}
}

// changedRoots is changed for roots at hand.
func (m *Memo) changedRoots(roots []root) {
	if len(roots) == 0 {
		return
	}
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = r.name
	}
	m.changed(names...)
}
