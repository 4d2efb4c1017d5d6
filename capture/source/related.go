package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxChain is the longest chain of references that is followed. libvirt gives
// up at 200, people rarely have ten.
const maxChain = 64

// Opener reads an image of any format from f; package image sets it. It takes
// f over only when it succeeds.
type Opener func(f *File, opts Options) (*Opened, error)

// SetOpener says how OpenDisk, on f and on all files opened through it, makes
// disks of files. It must be called before the first OpenDisk; package image
// does it, so that format packages need not import each other.
func (f *File) SetOpener(open Opener) { f.scope.open = open }

// OpenRelated opens a file that f names: a backing file, parent or extent.
// ref is a path of this system, absolute or relative to f's directory. After
// all symbolic links are followed it must lie in one of the trees that
// OpenFile allowed. The caller closes the file.
//
// Errors: *RefusedError, *MissingError, *CorruptError for a chain that bites
// its tail or is too long, ErrNotDisk.
func (f *File) OpenRelated(ref string) (*File, error) {
	if ref == "" || strings.ContainsRune(ref, 0) {
		return nil, f.Corrupt(0, "the reference %q is not a file name", ref)
	}
	if f.depth+1 >= maxChain {
		return nil, f.Corrupt(0, "the chain of references is longer than %d files", maxChain)
	}
	if err := f.scope.take(f); err != nil {
		return nil, err
	}
	path := ref
	if !filepath.IsAbs(path) {
		// Not filepath.Join: it would drop "link/.." without looking at link.
		path = f.dir + "/" + path
	}
	osf, real, err := f.openInTrees(path, ref)
	if err != nil {
		return nil, err
	}
	related, err := newFile(osf, real)
	if err != nil {
		osf.Close()
		return nil, fmt.Errorf("%s: refers to %q: %w", f.name, ref, err)
	}
	if err := f.checkLoop(related, ref); err != nil {
		osf.Close()
		return nil, err
	}
	related.scope, related.parent, related.depth = f.scope, f, f.depth+1
	related.dir = filepath.Dir(real)
	return related, nil
}

// OpenDisk opens the disk that f names, such as its backing image. An empty
// format means: by content. Closing the disk closes its files.
func (f *File) OpenDisk(ref, format string) (*Opened, error) {
	if f.scope.open == nil {
		return nil, fmt.Errorf("%s: refers to %q, but no opener was set", f.name, ref)
	}
	related, err := f.OpenRelated(ref)
	if err != nil {
		return nil, err
	}
	opened, err := f.scope.open(related, Options{Format: format, FollowBacking: f.scope.follow})
	if err != nil {
		related.Close()
		return nil, fmt.Errorf("%s: backing image: %w", f.name, err)
	}
	return opened, nil
}

// openInTrees opens path if it lies in an allowed tree; it also returns the
// path without symbolic links. Following the links first lets links inside
// the trees work, even absolute ones; opening through os.Root afterwards
// makes sure that nobody put a link in the way meanwhile.
func (f *File) openInTrees(path, ref string) (*os.File, string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		if clean := filepath.Clean(path); f.scope.treeOf(clean) == "" {
			return nil, "", f.refused(ref, clean)
		}
		return nil, "", f.related(ref, err)
	}
	tree := f.scope.treeOf(real)
	if tree == "" {
		return nil, "", f.refused(ref, real)
	}
	rel, err := filepath.Rel(tree, real)
	if err != nil {
		return nil, "", f.refused(ref, real)
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, "", f.related(ref, err)
	}
	defer root.Close()
	osf, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", f.related(ref, err)
	}
	return osf, real, nil
}

func (f *File) refused(ref, path string) error {
	return &RefusedError{Image: f.name, Ref: ref, Dir: filepath.Dir(path)}
}

// related words the failed open of a file that f names.
func (f *File) related(ref string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingError{Image: f.name, Ref: ref, Err: err}
	}
	return fmt.Errorf("%s: refers to %q: %w", f.name, ref, err)
}

// checkLoop refuses a file that is its own ancestor, under whatever name.
func (f *File) checkLoop(related *File, ref string) error {
	for a := f; a != nil; a = a.parent {
		if os.SameFile(a.info, related.info) {
			return f.Corrupt(0, "the chain of references bites its tail: %q is %s again", ref, a.name)
		}
	}
	return nil
}
