package ntfs

import (
	"context"
	"errors"
	"strings"

	"holdfast/fs/guest"
)

// maxDepth bounds the way from a file up to the root.
const maxDepth = 1024

// translate turns a Windows path into a link's target. A path that begins with
// a drive's letter, or with \, is looked for on this volume; when it is there
// the target leads to it by way of .., from the link's own (first) directory,
// so that it works wherever the volume is shown. Of a drive's path that is not
// here, which lies on another one most likely, the letter stays: D:/Games.
func (f *FS) translate(ctx context.Context, in *inode, path []byte, short bool) (string, error) {
	s := narrow(path)
	full := strings.HasPrefix(s, `\??\`) || strings.HasPrefix(s, `\\?\`)
	if full {
		s = s[4:]
	}
	switch {
	case len(s) >= 2 && s[1] == ':' && isLetter(s[0]):
		rest := strings.Trim(s[2:], `\`)
		target, err := f.onVolume(ctx, in, rest, false)
		if target == "" && err == nil {
			target = strings.ToUpper(s[:2]) + "/" + slashed(rest)
		}
		return target, err
	case full && len(s) >= 4 && strings.EqualFold(s[:4], `UNC\`):
		return "//" + slashed(s[4:]), nil
	case full:
		return slashed(s), nil // Volume{GUID}/…
	case strings.HasPrefix(s, `\\`):
		return slashed(s), nil
	case strings.HasPrefix(s, `\`):
		return f.onVolume(ctx, in, strings.Trim(s, `\`), true)
	}
	dir, err := f.parent(ctx, in.file)
	if err != nil && !errors.Is(err, guest.ErrCorrupt) && !errors.Is(err, guest.ErrNotExist) {
		return "", err
	}
	if err != nil {
		return slashed(s), nil
	}
	target, _, err := f.follow(ctx, dir, strings.Split(s, `\`))
	return target, err
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func slashed(s string) string { return strings.ReplaceAll(s, `\`, "/") }

// onVolume gives the target that leads from a link to a path of this volume. It
// is "" when there is no such path, unless always.
func (f *FS) onVolume(ctx context.Context, in *inode, path string, always bool) (string, error) {
	var names []string
	if path != "" {
		names = strings.Split(path, `\`)
	} else if !always {
		return "", nil // a drive as such
	}
	root, err := f.file(ctx, recordRoot)
	if err != nil {
		return "", err
	}
	target, there, err := f.follow(ctx, root, names)
	if err != nil || !there && !always {
		return "", err
	}
	ups, err := f.depth(ctx, in.file)
	if err != nil {
		return "", err
	}
	target = strings.Repeat("../", ups) + target
	if target = strings.TrimSuffix(target, "/"); target == "" {
		target = "."
	}
	return target, nil
}

// follow walks down from a directory along names, and gives their path as the
// directories spell them. Behind a link, and from the first name on that is not
// there, it goes on as it was.
func (f *FS) follow(ctx context.Context, dir *file, names []string) (path string, there bool, err error) {
	out := make([]string, 0, len(names))
	there = true
	for i, name := range names {
		if dir != nil {
			spelled, next, link, err := f.step(ctx, dir, name)
			switch {
			case err == nil:
				name, dir = spelled, next
			case errors.Is(err, guest.ErrNotExist) || errors.Is(err, guest.ErrCorrupt):
				dir, there = nil, false
			default:
				return "", false, err
			}
			if link {
				dir = nil
			} else if dir != nil && !dir.directory() && i+1 < len(names) {
				dir, there = nil, false
			}
		}
		out = append(out, name)
	}
	return strings.Join(out, "/"), there, nil
}

// step goes to one name in a directory. Case does not count, and a DOS name is
// replaced by the file's own.
func (f *FS) step(ctx context.Context, dir *file, name string) (spelled string, next *file, link bool, err error) {
	switch name {
	case "", ".":
		return name, dir, false, nil
	case "..":
		next, err = f.parent(ctx, dir)
		return name, next, false, err
	}
	wanted, ok := widen(name)
	if !ok {
		return "", nil, false, guest.ErrNotExist
	}
	ix, err := f.index(ctx, dir, nameIndex)
	if err != nil {
		return "", nil, false, err
	}
	n, ref, err := f.findFold(ctx, ix, wanted)
	if err != nil {
		return "", nil, false, err
	}
	if next, err = f.reference(ctx, ref); err != nil {
		return "", nil, false, err
	}
	if n.space == spaceDOS {
		if n, err = f.longName(ctx, next, n); err != nil {
			return "", nil, false, err
		}
	}
	spelled, err = n.check()
	return spelled, next, n.flags&nameReparse != 0, err
}

// longName finds the name beside a DOS name.
func (f *FS) longName(ctx context.Context, x *file, dos fileName) (fileName, error) {
	found := dos
	err := f.each(ctx, x, attrFileName, func(a *attribute) bool {
		if n, err := parseName(a.value); err == nil && n.space != spaceDOS && n.parent == dos.parent {
			found = n
		}
		return found.space == spaceDOS
	})
	return found, err
}

// parent gives the directory of a file's first name.
func (f *FS) parent(ctx context.Context, x *file) (*file, error) {
	ref, found := uint64(0), false
	err := f.each(ctx, x, attrFileName, func(a *attribute) bool {
		n, err := parseName(a.value)
		if found = err == nil && n.space != spaceDOS; found {
			ref = n.parent
		}
		return !found
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, guest.Corrupt("ntfs record %d: it has no name", x.number)
	}
	return f.reference(ctx, ref)
}

// depth counts the directories between a file and the root.
func (f *FS) depth(ctx context.Context, x *file) (int, error) {
	first := x.number
	for depth := -1; depth < maxDepth; depth++ {
		if x.number == recordRoot {
			return max(depth, 0), nil
		}
		var err error
		if x, err = f.parent(ctx, x); err != nil {
			return 0, wrapRecord(first, asDamage(err))
		}
	}
	return 0, guest.Corrupt("ntfs record %d: it is more than %d directories deep", first, maxDepth)
}
