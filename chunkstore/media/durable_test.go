package media

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestDirectoryIsDurableBeforeItsFiles: the sync that makes a new directory
// durable fails once; the next file in that directory must not be reported as
// durable while its directory is not.
func TestDirectoryIsDurableBeforeItsFiles(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var fail atomic.Bool
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync && op.Path == "/packs" && fail.Swap(false) {
			return errors.New("failed by the test")
		}
		return nil
	}))
	d, err := NewDir(fsys, "/packs")
	if err != nil {
		t.Fatal(err)
	}
	commit := func(name string) error {
		up, err := d.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		write(t, up, "bytes of "+name)
		return up.Commit()
	}
	fail.Store(true)
	if err := commit("ab01.pack"); err == nil {
		t.Fatal("a commit whose directory is not durable succeeded")
	}
	if err := commit("ab02.pack"); err != nil {
		t.Fatal(err)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	after, err := NewDir(crashed, "/packs")
	if err != nil {
		t.Fatal(err)
	}
	content(t, after, "ab02.pack", "bytes of ab02.pack")
}

// TestFoundDirectoryIsDurableBeforeItsFiles: a directory that somebody made who was
// killed before his sync is durable when a file in it is reported to be; to open the
// medium and read needs no sync.
func TestFoundDirectoryIsDurableBeforeItsFiles(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var syncs atomic.Int64
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync {
			syncs.Add(1)
		}
		return nil
	}))
	if err := mem.MkdirAll("/store/packs/ab", 0o755); err != nil { // neither is durable
		t.Fatal(err)
	}
	if err := syncDir(mem, "/"); err != nil {
		t.Fatal(err)
	}
	d, err := NewDir(fsys, "/store/packs")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.List(func(string) error { return nil }); err != nil || syncs.Load() != 0 {
		t.Fatalf("reading the medium made %d syncs; %v", syncs.Load(), err)
	}
	up, err := d.Create("ab01.pack")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	write(t, up, "bytes")
	if err := up.Commit(); err != nil {
		t.Fatal(err)
	}
	after, err := NewDir(mem.CrashClone(vfs.CrashCloneCfg{}), "/store/packs")
	if err != nil {
		t.Fatal(err)
	}
	content(t, after, "ab01.pack", "bytes")
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fickleFS forgets, as Linux does, what could not be written when a sync fails:
// the next sync succeeds without it, though reads still show it.
type fickleFS struct {
	vfs.FS
	fail atomic.Bool
	size atomic.Int64 // bytes of the last file that a good sync has written
}

type fickleFile struct {
	vfs.File
	fs    *fickleFS
	dirty map[int64]bool // bytes written since the last sync, good or not
	safe  map[int64]bool
	at    int64
}

func (f *fickleFS) wrap(file vfs.File, err error) (vfs.File, error) {
	return &fickleFile{File: file, fs: f, dirty: map[int64]bool{}, safe: map[int64]bool{}}, err
}

func (f *fickleFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
}

func (f *fickleFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, c, o...))
}

func (f *fickleFile) mark(off int64, n int) {
	for i := range int64(n) {
		f.dirty[off+i] = true
	}
}

func (f *fickleFile) Write(p []byte) (int, error) {
	f.mark(f.at, len(p))
	f.at += int64(len(p))
	return f.File.Write(p)
}

func (f *fickleFile) WriteAt(p []byte, off int64) (int, error) {
	f.mark(off, len(p))
	return f.File.WriteAt(p, off)
}

func (f *fickleFile) Sync() error {
	defer clear(f.dirty)
	if f.fs.fail.Swap(false) {
		return errors.New("failed by the test")
	}
	for off := range f.dirty {
		f.safe[off] = true
	}
	f.fs.size.Store(int64(len(f.safe)))
	return f.File.Sync()
}

// TestLeftoverOfAFailedSyncIsWrittenAgain: what a failed sync left in memory
// looks whole and is not on the disk; another sync alone does not bring it there.
func TestLeftoverOfAFailedSyncIsWrittenAgain(t *testing.T) {
	fsys := &fickleFS{FS: vfs.NewMem()}
	d, err := NewDir(fsys, "/packs")
	if err != nil {
		t.Fatal(err)
	}
	up, err := d.Create("ab01.pack")
	if err != nil {
		t.Fatal(err)
	}
	const size = rewriteStep + 7
	write(t, up, strings.Repeat("x", size))
	fsys.fail.Store(true)
	if err := up.Commit(); err == nil {
		t.Fatal("a commit whose sync fails succeeded")
	}
	up.Close()
	l, err := d.OpenUnfinished("ab01.pack")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Publish(); err != nil {
		t.Fatal(err)
	}
	if n := fsys.size.Load(); n != size {
		t.Fatalf("%d of %d bytes are on the disk", n, size)
	}
	content(t, d, "ab01.pack", strings.Repeat("x", size))
}
