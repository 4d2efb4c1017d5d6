package source_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/capture/source"
)

func TestOpenFileErrors(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "absent"): fs.ErrNotExist,
		filepath.Join(dir, "a", "b"): fs.ErrNotExist,
		dir:                          source.ErrNotDisk,
		pipe:                         source.ErrNotDisk, // and no waiting for a writer
		"/dev/null":                  source.ErrNotDisk,
	} {
		f, err := source.OpenFile(path, source.Options{})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %v, want %v with the path", path, err, want)
		}
		if f != nil {
			t.Errorf("open %s gave a file", path)
		}
	}
	path := write(t, dir, "x", "x")
	_, err := source.OpenFile(path, source.Options{FollowBacking: []string{filepath.Join(dir, "absent")}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent directory to follow: %v", err)
	}
}

func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t testing.TB, path string, opts source.Options) *source.File {
	t.Helper()
	f, err := source.OpenFile(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func symlink(t testing.TB, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// TestConfinement lays out a tree with links in all directions and asks for
// files in it from images in three places.
func TestConfinement(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in, out := filepath.Join(top, "in"), filepath.Join(top, "inside-not")
	image := write(t, in, "image", "i")
	write(t, in, "base", "b")
	write(t, in, "sub/base", "sb")
	write(t, out, "secret", "s")
	symlink(t, "base", filepath.Join(in, "rel"))
	symlink(t, filepath.Join(in, "base"), filepath.Join(in, "abs"))
	symlink(t, "../inside-not/secret", filepath.Join(in, "escape"))
	symlink(t, out, filepath.Join(in, "outdir"))
	symlink(t, "sub", filepath.Join(in, "subdir"))
	symlink(t, "loop", filepath.Join(in, "loop"))
	symlink(t, in, filepath.Join(top, "entry"))
	symlink(t, image, filepath.Join(out, "imagelink"))

	const refused = "refused"
	for _, c := range []struct{ image, ref, want string }{
		{image, "base", "b"},
		{image, "./sub/../base", "b"},
		{image, "sub/base", "sb"},
		{image, "subdir/../base", "b"}, // sub/.. is in
		{image, "rel", "b"},
		{image, "abs", "b"},
		{image, filepath.Join(in, "base"), "b"},
		{image, filepath.Join(top, "entry", "base"), "b"},
		{image, "../in/base", "b"}, // leaves the tree on the way, ends inside of it
		{image, "escape", refused},
		{image, "outdir/secret", refused},
		{image, "outdir/../in/base", "b"},
		{image, "../inside-not/secret", refused},
		{image, filepath.Join(out, "secret"), refused},
		{image, out, refused},
		{image, in + "side-not/secret", refused}, // shares a prefix with the tree
		{image, "..", refused},
		{image, "/", refused},
		{image, "../absent", refused}, // does not tell what exists outside
		{image, "loop", "too many links"},
		{image, "absent", "missing"},
		{image, "sub/absent/x", "missing"},
		{image, "base/x", "not a directory"},
		{image, "sub", "is a directory"},
		{image, "", "not a file name"},
		{image, "ba\x00se", "not a file name"},
		{filepath.Join(top, "entry", "image"), "base", "b"},
		{filepath.Join(out, "imagelink"), "secret", "s"}, // beside the link, as qemu does
		{filepath.Join(out, "imagelink"), "../in/base", refused},
	} {
		f := openFile(t, c.image, source.Options{})
		got := refer(t, f, c.ref)
		if got != c.want && (len(c.want) < 3 || !strings.Contains(got, c.want)) {
			t.Errorf("%s refers to %q: %s, want %s", c.image, c.ref, got, c.want)
		}
	}
	f := openFile(t, image, source.Options{FollowBacking: []string{filepath.Join(top, "entry"), out}})
	for _, ref := range []string{"escape", "outdir/secret", "../inside-not/secret", filepath.Join(out, "secret")} {
		if got := refer(t, f, ref); got != "s" {
			t.Errorf("with a directory to follow, %q: %s", ref, got)
		}
	}
}

// refer gives the content of the file that f names, or the sort of error.
func refer(t testing.TB, f *source.File, ref string) string {
	t.Helper()
	related, err := f.OpenRelated(ref)
	if want := (*source.RefusedError)(nil); errors.As(err, &want) {
		if !strings.Contains(err.Error(), f.Name()) || !strings.Contains(err.Error(), "--follow-backing") {
			t.Errorf("error %q lacks the image or the remedy", err)
		}
		return "refused"
	}
	if err != nil {
		return err.Error()
	}
	defer related.Close()
	p := make([]byte, related.Size())
	if err := related.ReadFull(p, 0, "content"); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// TestRelativeToTheFile: the second reference starts from the second file.
func TestRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	f := openFile(t, write(t, dir, "image", "i"), source.Options{})
	write(t, dir, "sub/one", "1")
	write(t, dir, "sub/two", "2")
	one, err := f.OpenRelated("sub/one")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if got := refer(t, one, "two"); got != "2" {
		t.Error(got)
	}
	if got := refer(t, one, "../image"); !strings.Contains(got, "bites its tail") {
		t.Error(got)
	}
	if got := refer(t, one, "../../x"); got != "refused" {
		t.Error(got)
	}
}

func TestRootHasNoTree(t *testing.T) {
	f := openFile(t, write(t, "/", "holdfast-test-image", "i"), source.Options{})
	defer os.Remove("/holdfast-test-image")
	if got := refer(t, f, "etc/passwd"); got != "refused" {
		t.Errorf("an image in / reads etc/passwd: %q", got)
	}
}
