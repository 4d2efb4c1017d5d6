package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/chunkstore/pack"
	"holdfast/fs/guest"
)

func isDamage(err error) bool {
	var d *pack.Damage
	return errors.As(err, &d)
}

// dress gives a copy the owner, mode, attributes and times of its original. file
// is the copy if it is open. A change of the owner takes set-user-ID bits and
// capabilities away, and writing changes the times: hence the order.
func (x *extraction) dress(ctx context.Context, f File, dir *os.File, name string, file *os.File) error {
	if x.s.top(f.Place) {
		return nil
	}
	fd := int(dir.Fd())
	if os.Geteuid() == 0 {
		if err := unix.Fchownat(fd, name, int(f.Attr.UID), int(f.Attr.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return target(err)
		}
	}
	if f.Attr.Type != guest.Symlink {
		if err := chmod(fd, name, file, x.mode(f.Attr)); err != nil {
			return target(err)
		}
	}
	if err := x.xattrs(ctx, f, fd, name); err != nil {
		return err
	}
	times := []unix.Timespec{timespec(f.Attr.Atime), timespec(f.Attr.Mtime)}
	return target(unix.UtimesNanoAt(fd, name, times, unix.AT_SYMLINK_NOFOLLOW))
}

// mode is what the copy may have of the original's. The sticky bit of a directory
// is harmless, and so is set-group-ID, which names only its files' group.
func (x *extraction) mode(a guest.Attr) uint32 {
	if x.Privileged || a.Type == guest.Directory {
		return uint32(a.Perm) & 0o7777
	}
	return uint32(a.Perm) & 0o1777
}

// chmod never follows a link: it goes through the descriptor, or names what was
// just made here and is none.
func chmod(dir int, name string, file *os.File, mode uint32) error {
	if file != nil {
		return unix.Fchmod(int(file.Fd()), mode)
	}
	return unix.Fchmodat(dir, name, mode, 0)
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// xattrs sets the extended attributes. Those that only root may set are left out
// for others, and those that this filesystem does not know are told.
func (x *extraction) xattrs(ctx context.Context, f File, dir int, name string) error {
	fs, err := x.s.Open(ctx, f.Place)
	if err != nil {
		return err
	}
	all, err := fs.Xattrs(ctx, f.Place.Node)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	for attr, value := range all {
		privileged := attr == "security.capability" || strings.HasPrefix(attr, "security.ima") || strings.HasPrefix(attr, "security.evm")
		if privileged && !x.Privileged {
			continue
		}
		err := unix.Lsetxattr(path, attr, value, 0)
		switch {
		case err == nil, os.Geteuid() != 0 && errors.Is(err, unix.EPERM):
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.E2BIG), errors.Is(err, unix.ERANGE):
			x.problem(f.Path, fmt.Errorf("extended attribute %s: %w", attr, err)) //nolint:errcheck // it returns none
		default:
			return target(err)
		}
	}
	return nil
}
