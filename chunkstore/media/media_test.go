package media

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// conformance is what every medium must do.
func conformance(t *testing.T, m Media) {
	t.Helper()
	const name = "ab0123.pack"
	if _, err := m.Open(name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of what is not there: %v", err)
	}
	up, err := m.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, up, "hello, ")
	write(t, up, "world")
	got := make([]byte, 5)
	if _, err := up.ReadAt(got, 7); err != nil || string(got) != "world" {
		t.Fatalf("read back %q, %v", got, err)
	}
	if names := list(t, m); len(names) != 0 {
		t.Fatalf("an unfinished file is listed: %q", names)
	}
	if _, err := m.Open(name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of an unfinished file: %v", err)
	}
	if err := up.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := up.ReadAt(got, 0); err != nil || string(got) != "hello" {
		t.Fatalf("read after commit %q, %v", got, err)
	}
	if err := up.Close(); err != nil {
		t.Fatal(err)
	}
	content(t, m, name, "hello, world")
	if _, err := m.Create(name); !errors.Is(err, ErrExists) {
		t.Fatalf("a name was used twice: %v", err)
	}
	content(t, m, name, "hello, world")

	given, err := m.Create("cd4567.pack")
	if err != nil {
		t.Fatal(err)
	}
	write(t, given, "given up")
	if err := given.Close(); err != nil {
		t.Fatal(err)
	}
	if names := list(t, m); !slices.Equal(names, []string{name}) {
		t.Fatalf("listed %q", names)
	}
	if err := m.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("second remove: %v", err)
	}
	for _, bad := range []string{"", "a", "../x", "a/b", ".hidden", "a\x00b"} {
		if _, err := m.Create(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("create %q: %v", bad, err)
		}
		if _, err := m.Open(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("open %q: %v", bad, err)
		}
		if err := m.Remove(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("remove %q: %v", bad, err)
		}
	}
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if n, err := w.Write([]byte(s)); err != nil || n != len(s) {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func content(t *testing.T, m Media, name, want string) {
	t.Helper()
	f, err := m.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, f.Size())
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != want {
		t.Fatalf("%s holds %q, %v, want %q", name, got, err, want)
	}
	if n, err := f.ReadAt(make([]byte, 1), f.Size()); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read at the end: %d, %v", n, err)
	}
}

func list(t *testing.T, m Media) (names []string) {
	t.Helper()
	if err := m.List(func(n string) error { names = append(names, n); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func newDir(t *testing.T, fsys vfs.FS, root string) *Dir {
	t.Helper()
	d, err := NewDir(fsys, root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirInMemory(t *testing.T) { conformance(t, newDir(t, vfs.NewMem(), "/packs")) }

func TestDirOnDisk(t *testing.T) { conformance(t, newDir(t, vfs.Default, t.TempDir()+"/packs")) }

// TestLeftoverIsFinishedInPlace: what a dead writer left is listed, read, added
// to and published, or dropped.
func TestLeftoverIsFinishedInPlace(t *testing.T) {
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "/packs")
	for _, n := range []string{"aa.pack", "bb.pack"} {
		up, err := d.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		write(t, up, "part")
		up.Close()
	}
	d = newDir(t, fsys, "/packs")
	names, err := d.Unfinished()
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"aa.pack", "bb.pack"}) {
		t.Fatalf("unfinished %q, %v", names, err)
	}
	l, err := d.OpenUnfinished("aa.pack")
	if err != nil || l.Size != 4 {
		t.Fatalf("%d bytes, %v", l.Size, err)
	}
	if _, err := l.WriteAt([]byte(" and rest"), l.Size); err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	content(t, d, "aa.pack", "part and rest")
	if l, err = d.OpenUnfinished("bb.pack"); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Discard(); err != nil {
		t.Fatal(err)
	}
	if names, err := d.Unfinished(); err != nil || len(names) != 0 {
		t.Fatalf("unfinished %q, %v", names, err)
	}
}

// TestCommittedFileSurvivesACrash: a name is there only with all of its bytes.
func TestCommittedFileSurvivesACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := newDir(t, mem, "/packs")
	up, err := d.Create("aa.pack")
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("x"), 100_000)
	if _, err := up.Write(bytes.Clone(want)); err != nil {
		t.Fatal(err)
	}
	if err := up.Commit(); err != nil {
		t.Fatal(err)
	}
	after := newDir(t, mem.CrashClone(vfs.CrashCloneCfg{}), "/packs")
	content(t, after, "aa.pack", string(want))
}
