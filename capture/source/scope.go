package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// maxFiles bounds the files that one source may open: enough for 8 TiB in
// VMDK extents of 2 GiB.
const maxFiles = 4096

// scope is what all files of one source share: where references may lead.
type scope struct {
	trees  []string // absolute directories without symbolic links
	follow []string // Options.FollowBacking as given
	open   Opener
	files  atomic.Int64 // opened so far through references
}

func newScope(path string, device bool, opts Options) (*scope, error) {
	s := &scope{follow: opts.FollowBacking}
	dir, err := realDir(path)
	if err != nil {
		return nil, err
	}
	if !device && dir != "/" {
		s.trees = append(s.trees, dir)
	}
	for _, d := range opts.FollowBacking {
		abs, err := filepath.Abs(d)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return nil, fmt.Errorf("follow backing files in %s: %w", d, err)
		}
		s.trees = append(s.trees, abs)
	}
	return s, nil
}

// realDir is the directory a file is named in, absolute and free of links.
// The last element is not followed: like qemu, a reference in an image that
// is reached by a link starts beside the link.
func realDir(path string) (string, error) {
	// Not filepath.Dir: it would drop "link/.." without looking at link.
	dir := path[:strings.LastIndexByte(path, '/')+1]
	if !filepath.IsAbs(dir) {
		cwd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		dir = cwd + "/" + dir
	}
	return filepath.EvalSymlinks(dir)
}

// treeOf finds the allowed tree that holds a cleaned absolute path, or "".
func (s *scope) treeOf(path string) string {
	for _, tree := range s.trees {
		if tree == "/" || strings.HasPrefix(path, tree+"/") {
			return tree
		}
	}
	return ""
}

// take counts one more file against the bound.
func (s *scope) take(f *File) error {
	if s.files.Add(1) > maxFiles {
		return f.Corrupt(0, "the image refers to more than %d files", maxFiles)
	}
	return nil
}
