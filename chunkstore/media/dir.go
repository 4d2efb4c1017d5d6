package media

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const unfinishedDir = "unfinished"

// writeCategory groups our writes in Pebble's disk statistics.
const writeCategory vfs.DiskWriteCategory = "holdfast-pack"

// Dir is a directory medium. It works on a vfs.FS so that tests can crash it
// and make it fail at any operation.
type Dir struct {
	fs   vfs.FS
	root string

	mu      sync.Mutex      // guards what follows, and the making of directories
	subs    map[string]bool // the directories whose own names are durable once settled
	settled bool            // root's own name is durable, and those that were in it when it was opened
}

var _ Media = (*Dir)(nil)

// NewDir makes or opens the directory medium at root.
func NewDir(fsys vfs.FS, root string) (*Dir, error) {
	d := &Dir{fs: fsys, root: root, subs: map[string]bool{}}
	if err := fsys.MkdirAll(fsys.PathJoin(root, unfinishedDir), 0o755); err != nil {
		return nil, fmt.Errorf("make directory for packs: %w", err)
	}
	subs, err := fsys.List(root)
	if err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	for _, sub := range subs {
		d.subs[fsys.PathJoin(root, sub)] = true // they are there before settle's sync
	}
	return d, nil
}

// settle makes the directories durable that NewDir found or made, before the first
// pack gets its name in one: who only reads waits for no sync. The caller holds mu.
func (d *Dir) settle() error {
	if d.settled {
		return nil
	}
	for _, dir := range []string{d.root, d.fs.PathDir(d.root)} {
		if err := d.syncDir(dir); err != nil {
			return err
		}
	}
	d.settled = true
	return nil
}

func (d *Dir) path(name string) string { return d.fs.PathJoin(d.root, name[:2], name) }

func (d *Dir) unfinished(name string) string { return d.fs.PathJoin(d.root, unfinishedDir, name) }

func checkName(name string) error {
	if len(name) < 2 || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return fmt.Errorf("file name %q: %w", name, fs.ErrInvalid)
	}
	return nil
}

// Create implements Media.
func (d *Dir) Create(name string) (Upload, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if _, err := d.fs.Stat(d.path(name)); err == nil {
		return nil, fmt.Errorf("create %s: %w", d.path(name), ErrExists)
	}
	f, err := d.fs.Create(d.unfinished(name), writeCategory)
	if err != nil {
		return nil, fmt.Errorf("create pack: %w", err)
	}
	return &upload{dir: d, name: name, File: f}, nil
}

// writebackStep is how much is written before the kernel is told to take it to
// the disk. Without it a whole pack waits in memory for Commit's sync, and
// whoever commits waits with it.
const writebackStep = 4 << 20

type upload struct {
	vfs.File
	dir     *Dir
	name    string
	written int64
	begun   int64 // bytes that are on their way to the disk, or there
}

// Write implements io.Writer.
func (u *upload) Write(b []byte) (int, error) {
	n, err := u.File.Write(b)
	if u.written += int64(n); u.written-u.begun >= writebackStep {
		u.beginWriteback()
	}
	return n, err
}

// beginWriteback is advice, which a file in memory has no use for. It waits for
// nothing (with SYNC_FILE_RANGE_WAIT_* it would also take the report of a failed
// write that is meant for Sync) and proves nothing: only Sync does.
func (u *upload) beginWriteback() {
	if fd := u.File.Fd(); fd != vfs.InvalidFd {
		unix.SyncFileRange(int(fd), u.begun, u.written-u.begun, unix.SYNC_FILE_RANGE_WRITE)
	}
	u.begun = u.written
}

// Commit is the durable order of a file.
func (u *upload) Commit() error {
	if err := u.File.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", u.name, err)
	}
	return u.dir.publish(u.name)
}

func (d *Dir) publish(name string) error {
	final := d.path(name)
	sub := d.fs.PathDir(final)
	if err := d.makeSub(sub); err != nil {
		return err
	}
	if err := d.fs.Rename(d.unfinished(name), final); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := d.syncDir(sub); err != nil {
		// The caller will report a failure, so the name must not stay.
		return errors.Join(err, d.fs.Rename(final, d.unfinished(name)))
	}
	return nil
}

// makeSub makes one of the 256 directories, durably. That it is there is not
// enough: whoever made it may not have synced it yet, or may have failed to.
func (d *Dir) makeSub(sub string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.settle(); err != nil || d.subs[sub] {
		return err
	}
	if err := d.fs.MkdirAll(sub, 0o755); err != nil {
		return fmt.Errorf("make directory for packs: %w", err)
	}
	if err := d.syncDir(d.root); err != nil {
		return err
	}
	d.subs[sub] = true
	return nil
}

func (d *Dir) syncDir(path string) error {
	dir, err := d.fs.OpenDir(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// Open implements Media.
func (d *Dir) Open(name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("open pack: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open pack: %w", err)
	}
	return &file{File: f, size: st.Size()}, nil
}

type file struct {
	vfs.File
	size   int64
	direct direct
}

func (f *file) Size() int64 { return f.size }

// Close implements File.
func (f *file) Close() error { return errors.Join(f.direct.close(), f.File.Close()) }

// listers is how many directories List reads at once: a cold one waits for the disk.
const listers = 16

// List implements Media.
func (d *Dir) List(fn func(name string) error) error {
	subs, err := d.fs.List(d.root)
	if err != nil {
		return fmt.Errorf("list packs: %w", err)
	}
	subs = slices.DeleteFunc(subs, func(sub string) bool { return len(sub) != 2 })
	for part := range slices.Chunk(subs, listers) {
		names, err := d.listSubs(part)
		if err != nil {
			return fmt.Errorf("list packs: %w", err)
		}
		for _, name := range names {
			if err := fn(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// listSubs returns the files of some directories that lie where they belong: a pack
// lies under its own first digits.
func (d *Dir) listSubs(subs []string) ([]string, error) {
	found := make([][]string, len(subs))
	var g errgroup.Group
	for i, sub := range subs {
		g.Go(func() (err error) {
			found[i], err = d.fs.List(d.fs.PathJoin(d.root, sub))
			found[i] = slices.DeleteFunc(found[i], func(name string) bool { return !strings.HasPrefix(name, sub) })
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(found...), err
}

// Remove implements Media.
func (d *Dir) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := d.fs.Remove(d.path(name)); err != nil {
		return fmt.Errorf("remove pack: %w", err)
	}
	return d.syncDir(d.fs.PathDir(d.path(name)))
}
