package files

import (
	"path"
	"time"

	"holdfast/fs/guest"
)

// Match says which files are looked for. Its zero value takes all.
type Match struct {
	Name    string // a pattern of path.Match for the last part of the path
	Types   []guest.Type
	AtLeast int64     // bytes
	Below   int64     // bytes; 0: no bound
	Since   time.Time // mtime at or after it; zero: no bound
	Until   time.Time // mtime before it; zero: no bound
}

// Fits tells whether a file is looked for.
func (m *Match) Fits(f File) bool {
	a := &f.Attr
	if m.Name != "" {
		if ok, err := path.Match(m.Name, path.Base("/"+f.Path)); err != nil || !ok {
			return false
		}
	}
	typed := len(m.Types) == 0
	for _, t := range m.Types {
		typed = typed || t == a.Type
	}
	return typed && a.Size >= m.AtLeast && (m.Below == 0 || a.Size < m.Below) &&
		(m.Since.IsZero() || !a.Mtime.Before(m.Since)) && (m.Until.IsZero() || a.Mtime.Before(m.Until))
}

// History is in which versions files are there, and when they changed. Its memory
// grows with the paths in it.
type History struct {
	tracks map[string]*Track
	order  []*Track
}

// Track is the history of one path.
type Track struct {
	Path   string
	States []State
}

// State is a time in which a file did not change.
type State struct {
	First, Last string // ids of versions
	Versions    int
	Attr        guest.Attr // in the first of them

	last int // its number
}

// Add notes a file of the version with that id and number; versions come in
// order.
func (h *History) Add(number int, id string, f File) {
	t := h.tracks[f.Path]
	if t == nil {
		if h.tracks == nil {
			h.tracks = map[string]*Track{}
		}
		t = &Track{Path: f.Path}
		h.tracks[f.Path] = t
		h.order = append(h.order, t)
	}
	if n := len(t.States); n > 0 && t.States[n-1].last == number-1 && unchanged(&t.States[n-1].Attr, &f.Attr) {
		s := &t.States[n-1]
		s.Last, s.last = id, number
		s.Versions++
		return
	}
	t.States = append(t.States, State{id, id, 1, f.Attr, number})
}

// Repeat notes that a version holds what the one before it does.
func (h *History) Repeat(number int, id string) {
	for _, t := range h.order {
		if s := &t.States[len(t.States)-1]; s.last == number-1 {
			s.Last, s.last = id, number
			s.Versions++
		}
	}
}

// Tracks returns all paths in the order in which they were met.
func (h *History) Tracks() []*Track { return h.order }

// unchanged tells by the attributes whether a file is as it was. The time of the
// last change of any of them, which the guest's kernel keeps, covers the content
// and the rest where there is one.
func unchanged(a, b *guest.Attr) bool {
	return a.Type == b.Type && a.Size == b.Size && a.Perm == b.Perm && a.UID == b.UID && a.GID == b.GID &&
		a.Rdev == b.Rdev && a.Mtime.Equal(b.Mtime) && (a.Type == guest.Directory || a.Ctime.Equal(b.Ctime))
}
