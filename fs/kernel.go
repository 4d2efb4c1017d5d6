package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxRead is the most that one READ asks for: what kernels since 4.20 allow
// without a sysctl.
const maxRead = 1 << 20

const mountFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// mountAsRoot mounts on dir and returns the connection. go-fuse could do it,
// but would leave the descriptor open in every child process, and a mount
// lives as long as any copy of that.
func mountAsRoot(dir, source string, allowOther bool) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/fuse: %w; is the fuse module loaded?", err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,max_read=%d", fd, os.Getuid(), os.Getgid(), maxRead)
	if allowOther {
		opts += ",allow_other"
	}
	if err := unix.Mount(source, dir, fsType, mountFlags, opts); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mount on %s: %w", dir, err)
	}
	return fd, nil
}

// unmount removes the mount at dir, or fails with EBUSY.
func unmount(dir string) error { return remove(dir, 0, "-u") }

// detach takes the mount at dir out of sight at once. What is open stays open,
// and the mount ends with the last close.
func detach(dir string) error { return remove(dir, unix.MNT_DETACH, "-uz") }

func remove(dir string, flags int, arg string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW)
	}
	out, err := exec.Command("fusermount3", arg, "--", dir).CombinedOutput()
	switch out = bytes.TrimSpace(out); {
	case err == nil:
		return nil
	case bytes.Contains(out, []byte("busy")):
		return unix.EBUSY
	case len(out) > 0:
		return errors.New(string(out))
	}
	return err
}

// abort ends a connection at once: whoever has a file open gets ENOTCONN. It
// goes through fusectl, which systemd mounts; without systemd it is mounted
// for the moment.
func abort(dev string) error {
	_, minor, err := splitDev(dev)
	if err != nil {
		return err
	}
	const fusectl = "/sys/fs/fuse/connections"
	file := filepath.Join(fusectl, strconv.Itoa(minor), "abort")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) && os.Geteuid() == 0 {
		if err := unix.Mount("fusectl", fusectl, "fusectl", 0, ""); err != nil {
			return fmt.Errorf("mount fusectl: %w", err)
		}
		defer unix.Unmount(fusectl, unix.MNT_DETACH) //nolint:errcheck // nothing depends on it
	}
	return os.WriteFile(file, []byte("1"), 0)
}

// setReadAhead tells the kernel how far to read ahead of a buffered reader.
// FUSE's own negotiation can only lower the 128 KiB that is the default.
func setReadAhead(dev string, kib int) error {
	return os.WriteFile(filepath.Join("/sys/class/bdi", dev, "read_ahead_kb"), []byte(strconv.Itoa(kib)), 0)
}

func splitDev(dev string) (major, minor int, err error) {
	if _, err := fmt.Sscanf(dev, "%d:%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("device number %q: %w", dev, err)
	}
	return major, minor, nil
}

// answers looks the README up as any program would, so that a mount is known
// to work. It must be system calls that the Go runtime knows to block: the
// answer may come from this process. The poll makes the kernel learn that there
// is none here; later a poll of a file (Go's own runtime does one for each
// file it opens) could wait for a thread that waits for the poll.
func answers(dir string) error {
	fd, err := unix.Open(filepath.Join(dir, readmeName), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("the mount on %s does not answer: %w", dir, err)
	}
	defer unix.Close(fd)
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) //nolint:errcheck // asked to be refused
	return nil
}
