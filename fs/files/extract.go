package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/fs/guest"
)

// ExtractOptions say how files are copied out. The zero value works.
type ExtractOptions struct {
	Recursive bool // directories with what is in them
	// Privileged keeps what acts on this machine: set-user-ID and set-group-ID
	// bits, file capabilities and device nodes. A hostile guest may have made
	// them for this moment.
	Privileged bool
	Problem    func(path string, err error) // told of every file that could not be copied; nil: nobody
	Progress   *ExtractProgress             // nil: nobody looks
}

// ExtractProgress may be read while Extract runs.
type ExtractProgress struct{ Done, Total atomic.Int64 }

// Extracted is what was copied.
type Extracted struct {
	Files, Directories, Links, Others int64
	Bytes                             int64 // of content, holes left out
	Skipped                           int64 // device nodes
	Problems                          int64
	First                             error // of the problems, damage of the store before others
}

// extraction is one Extract. Everything is made below the descriptor of a
// directory that was made by this extraction, with names of one part, and never
// over what is there: nothing that a guest made can lead out of the target.
type extraction struct {
	ExtractOptions
	s     *Space
	root  *os.File // the directory in which the copy is made
	name  string   // of the copy in it
	dirs  []*os.File
	first map[Place]string // files with several names, to the first from root
	out   Extracted
}

// Extract copies the file at a place to dir/name, which must not be there. Modes,
// times, links, holes and extended attributes are kept, owners if this process is
// root. What can't be copied is told to Problem and counted, and the rest goes on;
// the error is of the target or of ctx.
func (s *Space) Extract(ctx context.Context, p Place, dir, name string, o ExtractOptions) (Extracted, error) {
	root, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return Extracted{}, err
	}
	defer root.Close()
	if !Sane(name) {
		return Extracted{}, fmt.Errorf("%q: %w", name, errName)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(root.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		return Extracted{}, fmt.Errorf("%s: %w", path.Join(dir, name), os.ErrExist)
	}
	if o.Progress == nil {
		o.Progress = new(ExtractProgress)
	}
	x := &extraction{ExtractOptions: o, s: s, root: root, name: name, first: map[Place]string{}}
	defer x.close()
	x.dirs = []*os.File{root}
	w := Walker{Space: s, Visit: func(f File) (bool, error) { return x.visit(ctx, f) }, After: x.leave, Problem: x.problem}
	err = w.Walk(ctx, p)
	return x.out, err
}

func (x *extraction) close() {
	for _, d := range x.dirs[min(1, len(x.dirs)):] {
		d.Close()
	}
}

// problem counts what could not be copied.
func (x *extraction) problem(name string, err error) error {
	x.out.Problems++
	if x.out.First == nil || isDamage(err) && !isDamage(x.out.First) {
		x.out.First = fmt.Errorf("%s: %w", join(x.name, name), err)
	}
	if x.Problem != nil {
		x.Problem(name, err)
	}
	return nil
}

// visit makes one file.
func (x *extraction) visit(ctx context.Context, f File) (bool, error) {
	name := x.name
	if f.Path != "" {
		name = path.Base(f.Path)
	}
	dir := x.dirs[len(x.dirs)-1]
	if f.Attr.Links > 1 && f.Attr.Type != guest.Directory {
		if done, err := x.link(f, dir, name); done || err != nil {
			return false, err
		}
	}
	err := x.make(ctx, f, dir, name)
	if err == nil {
		return true, nil
	}
	if ends(err) || ctx.Err() != nil {
		return false, fmt.Errorf("%s: %w", join(x.name, f.Path), err)
	}
	return false, x.problem(f.Path, err)
}

// targetError is an error of writing the copy.
type targetError struct{ err error }

func (e *targetError) Error() string { return e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

// ends tells whether an error is one of the target that every file would meet.
func ends(err error) bool {
	var target *targetError
	if !errors.As(err, &target) {
		return false
	}
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func target(err error) error {
	if err == nil {
		return nil
	}
	return &targetError{err}
}

// link makes a further name of a file that was copied already.
func (x *extraction) link(f File, dir *os.File, name string) (bool, error) {
	own := x.name
	if f.Path != "" {
		own = x.name + "/" + f.Path
	}
	first, ok := x.first[f.Place]
	if !ok {
		x.first[f.Place] = own
		return false, nil
	}
	err := unix.Linkat(int(x.root.Fd()), first, int(dir.Fd()), name, 0)
	if errors.Is(err, unix.ENOENT) { // the first could not be copied
		return false, nil
	}
	if err != nil {
		return true, x.problem(f.Path, err)
	}
	x.out.Links++
	return true, nil
}

// make makes a file that is not there yet.
func (x *extraction) make(ctx context.Context, f File, dir *os.File, name string) error {
	switch f.Attr.Type {
	case guest.Directory:
		return x.directory(dir, name)
	case guest.Regular:
		return x.regular(ctx, f, dir, name)
	case guest.Symlink:
		return x.symlink(ctx, f, dir, name)
	case guest.CharDevice, guest.BlockDevice:
		if !x.Privileged {
			x.out.Skipped++
			return nil
		}
	}
	mode := map[guest.Type]uint32{guest.CharDevice: unix.S_IFCHR, guest.BlockDevice: unix.S_IFBLK, guest.FIFO: unix.S_IFIFO, guest.Socket: unix.S_IFSOCK}[f.Attr.Type]
	if mode == 0 {
		return guest.Corrupt("a file of type %d", f.Attr.Type)
	}
	if err := unix.Mknodat(int(dir.Fd()), name, mode|0o600, int(f.Attr.Rdev)); err != nil {
		return target(err)
	}
	x.out.Others++
	return x.dress(ctx, f, dir, name, nil)
}

func (x *extraction) directory(dir *os.File, name string) error {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
		return target(err)
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return target(err)
	}
	x.dirs = append(x.dirs, os.NewFile(uintptr(fd), name))
	x.out.Directories++
	return nil
}

// leave gives a directory its attributes, now that nothing is made in it any
// more.
func (x *extraction) leave(f File) error {
	last := len(x.dirs) - 1
	d := x.dirs[last]
	x.dirs = x.dirs[:last]
	defer d.Close()
	name := x.name
	if f.Path != "" {
		name = path.Base(f.Path)
	}
	if err := x.dress(context.Background(), f, x.dirs[last-1], name, d); err != nil {
		return x.problem(f.Path, err)
	}
	return nil
}

func (x *extraction) regular(ctx context.Context, f File, dir *os.File, name string) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return target(err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	err = target(file.Truncate(f.Attr.Size))
	if err == nil {
		err = x.s.Copy(ctx, f.Place, f.Attr.Size, targetFile{file}, func(n int64) { x.out.Bytes += n; x.Progress.Done.Add(n) })
	}
	if err != nil { // half a file must not pass for a whole one
		unix.Unlinkat(int(dir.Fd()), name, 0) //nolint:errcheck // the first error is told
		return err
	}
	x.out.Files++
	return x.dress(ctx, f, dir, name, file)
}

// targetFile marks its errors as the target's.
type targetFile struct{ f *os.File }

func (t targetFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := t.f.WriteAt(b, off)
	return n, target(err)
}

func (x *extraction) symlink(ctx context.Context, f File, dir *os.File, name string) error {
	fs, err := x.s.Open(ctx, f.Place)
	if err != nil {
		return err
	}
	to, err := fs.Readlink(ctx, f.Place.Node)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(to, int(dir.Fd()), name); err != nil {
		return target(err)
	}
	x.out.Files++
	return x.dress(ctx, f, dir, name, nil)
}
