package layer

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf16"

	"holdfast/capture/source"
)

// OpenParent opens the parent of f. refs are the paths that f records, in the
// order in which they are to be tried. A Windows path that is absolute means
// nothing here, so the file name alone is looked for beside f as well; open
// must check the parent's identity and fails for a stranger of that name.
// open takes the file over only when it succeeds.
//
// When nothing fits, the error of the candidate that came farthest is
// returned: a wrong file before a refused one before a missing one.
func OpenParent(f *source.File, refs []string, open source.Opener, opts source.Options) (*source.Opened, error) {
	candidates := candidates(refs)
	if len(candidates) == 0 {
		return nil, f.Corrupt(0, "a differencing image that names no parent file")
	}
	var worst error
	for _, ref := range candidates {
		opened, err := openCandidate(f, ref, open, opts)
		if err == nil {
			return opened, nil
		}
		if worst == nil || rank(err) > rank(worst) {
			worst = err
		}
	}
	return nil, fmt.Errorf("open the parent of %s (looked for %s): %w", f.Name(), quoted(candidates), worst)
}

func openCandidate(f *source.File, ref string, open source.Opener, opts source.Options) (*source.Opened, error) {
	related, err := f.OpenRelated(ref)
	if err != nil {
		return nil, err
	}
	opened, err := open(related, opts)
	if err != nil {
		related.Close()
		return nil, err
	}
	return opened, nil
}

// rank orders errors by how much they tell.
func rank(err error) int {
	var missing *source.MissingError
	var refused *source.RefusedError
	switch {
	case errors.As(err, &missing):
		return 0
	case errors.As(err, &refused):
		return 1
	}
	return 2
}

// candidates turns recorded paths into paths of this system: those that can be
// followed as they are first, then the bare file names.
func candidates(refs []string) []string {
	var whole, names []string
	for _, ref := range refs {
		p, absolute := fromWindows(ref)
		name := path.Base(p)
		if name == "." || name == ".." || name == "/" {
			continue
		}
		if !absolute {
			whole = append(whole, p)
		}
		names = append(names, name)
	}
	var all []string
	for _, c := range append(whole, names...) {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// fromWindows turns a recorded path into slashes and tells whether it is an
// absolute one of Windows: \\?\Volume{...}\, \\?\C:\, \\server\share\, C:\.
// A path with slashes only is one of this system (VirtualBox on Linux).
func fromWindows(ref string) (p string, absolute bool) {
	drive := len(ref) >= 2 && ref[1] == ':' && (ref[0]|0x20) >= 'a' && (ref[0]|0x20) <= 'z'
	absolute = drive || strings.HasPrefix(ref, `\`)
	if drive {
		ref = ref[2:]
	}
	p = strings.ReplaceAll(ref, `\`, "/")
	for strings.HasPrefix(p, "./") {
		p = strings.TrimLeft(p[1:], "/")
	}
	return p, absolute
}

func quoted(refs []string) string {
	q := make([]string, len(refs))
	for i, ref := range refs {
		q[i] = fmt.Sprintf("%q", ref)
	}
	return strings.Join(q, ", ")
}

// UTF16 decodes a UTF-16 string up to its first NUL. unit reads one code unit
// of two bytes; an odd last byte is dropped.
func UTF16(b []byte, unit func([]byte) uint16) string {
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		u := unit(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
